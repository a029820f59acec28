/** How attention is cut, so that the scores of all queries at once never exist. */
export interface AttentionSize {
  batch: number;
  sequence: number;
  heads: number;
  keyValueHeads: number;
  /** Keys that a query may see: those of the sequence unless earlier ones are given. */
  keys?: number;
}

/** How much of each axis is computed at once; the last piece of an axis may be smaller. */
export interface AttentionCut {
  sequences: number;
  keyHeads: number;
  queries: number;
}

/** From the first to before the last. */
export type Range = readonly [number, number];

/** Scores of some queries. */
export interface QueryPiece {
  queries: Range;
  /** No query of the piece sees another key. */
  keys: Range;
  /** The number of its mask: pieces that differ only in their heads share one. */
  mask: number;
}

/** Sequences and heads at once, with their queries from the first to the last. */
export interface AttentionGroup {
  sequences: Range;
  keyHeads: Range;
  pieces: readonly QueryPiece[];
}

/**
 * Bytes of the scores of one piece on the CPU and, where its buffers are that large, on a GPU: half of
 * the smallest buffer that a WebGPU adapter may bind (128 MiB).
 */
export const MAX_SCORES_BYTES = { cpu: 2 ** 24, webgpu: 2 ** 26 } as const;
/** Queries a piece: keys after its last query are not looked at, so fewer save more products. */
const FEW_QUERIES = 128;

/**
 * Long sequences are cut into pieces of queries; then sequences and heads, which cost nothing, and
 * at last the queries again until a piece's scores fit.
 * @param scoresBytes the most that the scores of one piece may take
 * @param few queries a piece at the most, where there are twice as many
 */
export function attentionCut(
  size: AttentionSize,
  scoresBytes: number,
  few = FEW_QUERIES,
): AttentionCut {
  const { batch, sequence, heads, keyValueHeads, keys = sequence } = size;
  const perQuery = (4 * keys * heads) / keyValueHeads;
  const pieces = Math.max(1, Math.floor(sequence / few));
  const most = Math.max(1, Math.floor(scoresBytes / perQuery));
  const queries = Math.min(most, Math.ceil(sequence / pieces));
  const keyHeads = Math.min(keyValueHeads, Math.max(1, Math.floor(most / queries)));
  const all = keyHeads === keyValueHeads;
  const affordable = Math.floor(most / (queries * keyValueHeads));
  return { sequences: all ? Math.min(batch, Math.max(1, affordable)) : 1, keyHeads, queries };
}

/** Nothing is cut. */
export function wholeAttention({ batch, sequence, keyValueHeads }: AttentionSize): AttentionCut {
  return { sequences: batch, keyHeads: keyValueHeads, queries: sequence };
}

/** True where there is more than one piece. */
export function isCut(
  size: AttentionSize,
  { sequences, keyHeads, queries }: AttentionCut,
): boolean {
  return sequences < size.batch || keyHeads < size.keyValueHeads || queries < size.sequence;
}

/**
 * By sequences, then heads.
 * @param window tokens that a query sees, itself included
 * @param earlier keys before those of the current tokens; every query may see them
 */
export function attentionGroups(
  { batch, sequence, keyValueHeads }: AttentionSize,
  cut: AttentionCut,
  { window = Infinity, earlier = 0 }: { window?: number | undefined; earlier?: number } = {},
): AttentionGroup[] {
  const queryRanges = ranges(sequence, cut.queries);
  return ranges(batch, cut.sequences).flatMap((sequences, i) =>
    ranges(keyValueHeads, cut.keyHeads).map((keyHeads) => ({
      sequences,
      keyHeads,
      pieces: queryRanges.map((queries, k) => ({
        queries,
        keys: [
          earlier > 0 ? 0 : Math.max(0, queries[0] - window + 1),
          earlier + queries[1],
        ] as const,
        mask: i * queryRanges.length + k,
      })),
    })),
  );
}

/** Where a piece's mask lies in the whole one. */
export interface MaskPiece {
  sequences: Range;
  queries: Range;
  keys: Range;
}

/** The masks, in the order of their numbers. */
export function maskPieces(size: AttentionSize, cut: AttentionCut, window?: number): MaskPiece[] {
  const firstHeads = attentionGroups(size, cut, { window }).filter(
    ({ keyHeads }) => keyHeads[0] === 0,
  );
  return firstHeads.flatMap(({ sequences, pieces }) =>
    pieces.map(({ queries, keys }) => ({ sequences, queries, keys })),
  );
}

function ranges(size: number, step: number): Range[] {
  const starts = Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step);
  return starts.map((start) => [start, Math.min(size, start + step)]);
}
