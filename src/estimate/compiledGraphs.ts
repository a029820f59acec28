/** Memory of the graphs that are kept compiled: a set for each shape of a batch and each kind of block. */

/**
 * Of one compiled graph beside its nodes, and of a node. Measured as growth of resident memory over 30
 * sessions of one graph: 2.9 to 4.2 KB a node for the blocks' forward and backward graphs (146 to 839 nodes)
 * of DoTA and LoRA at hidden 128 and 512; graphs of a few nodes take 20 to 300 KB, their thread included.
 */
const fixedBytes = 100 * 2 ** 10;
const nodeBytes = 3.6 * 2 ** 10;

/**
 * The most that compiled graphs of one engine take; beyond it the least recently used go. It holds a DoTA
 * run of four cores on all seven matrices at each of the 32 lengths up to 512 tokens (5 to 6 MB a length)
 * and the graphs of its evaluation (about 1 MB a length). Where more is wanted, a graph is compiled anew
 * when its shape comes again, some 50 to 150 ms a step, which weighs the less the longer the sequences are.
 */
export const COMPILED_LIMIT = 256 * 2 ** 20;

/** @param nodes of the graph */
export function compiledBytes(nodes: number): number {
  return fixedBytes + nodes * nodeBytes;
}

/** What a batch shape needs once: the context and two sizes of the head's graph. */
const shared = { graphs: 3, nodes: 90 };
/** What each kind of block needs: forward and two backwards; nodes without adapters, and a piece of attention's. */
const block = { graphs: 3, nodes: 260, pieceNodes: 110 };
/** What evaluation needs beside training: forwards that keep nothing, the loss without a gradient. */
const evaluationShare = 0.15;

/** How an adapter changes a layer, as far as the number of nodes goes. */
export type AdapterGraph =
  { kind: 'none' | 'lora' | 'dora' | 'loretta' } | { kind: 'mpo'; cores: number };

/** Nodes of forward and backwards that an adapter adds to one layer, as counted on layers of one block. */
export function adapterNodes(adapter: AdapterGraph): number {
  switch (adapter.kind) {
    case 'none':
      return 0;
    case 'lora':
      return 40;
    case 'dora':
      return 90;
    case 'loretta':
      return 170;
    case 'mpo':
      // 95, 163 and 367 with 2, 4 and 6 cores.
      return 60 + 8 * adapter.cores ** 2;
  }
}

export interface GraphCount {
  /** To which sequences are padded. */
  lengths: number;
  /** Kinds of blocks: those of equal shapes and ranks share their graphs. */
  blocks: number;
  /** Of all adapters in one block. */
  adapterNodes: number;
  /** Pieces of attention at the longest length. */
  pieces: number;
}

/**
 * @returns bytes that these graphs take beyond those of one length and one kind of block, which are in the
 *   runtime's own figure; 0 with one length, for which the explorer has the estimate as a formula
 */
export function moreGraphsBytes({ lengths, blocks, adapterNodes, pieces }: GraphCount): number {
  if (lengths <= 1) return 0;
  // Pieces of attention grow with the length: on average half of those of the longest.
  const nodes = block.nodes + adapterNodes + (block.pieceNodes * (pieces - 1)) / 2;
  const bytesOf = (kinds: number): number =>
    (shared.graphs + kinds * block.graphs) * fixedBytes +
    (shared.nodes + kinds * nodes) * nodeBytes;
  const first = bytesOf(1);
  const one = bytesOf(blocks);
  const all = (1 + evaluationShare) * lengths * one;
  // The graphs of the batch at hand stay, whatever they take.
  return Math.max(one, Math.min(COMPILED_LIMIT, all)) - first;
}
