/**
 * The decoder with a cache of keys and values. One graph serves all blocks, as in training; the
 * weights are inputs, so several adapters of one base share graphs and weights.
 */
import { buildCachedBlock } from '../../graph/decoder/cachedBlock';
import { blockTensors } from '../../graph/decoder/block';
import { frozenInput } from '../../graph/decoder/blockGraphs';
import { buildHead, headTensors } from '../../graph/decoder/headGraph';
import type { DecoderConfig } from '../../models/modelConfig';
import { paddedLength } from '../../data/paddedLength';
import { DotaError } from '../../protocol/errors';
import { BLOCKED } from '../../graph/decoder/contextGraph';
import { rotaryTables } from '../engine/batchContext';
import { embeddingName, headTensorName, layerPrefix } from '../engine/parameterLayout';
import { SessionCache } from '../engine/sessionCache';
import type { Device } from '../ort/device';
import type { HostArrays } from '../ort/values';
import { KvCache } from './kvCache';
import type { WeightView } from './weightView';

/** Longest stretch of a prompt that is computed at once: bounds the memory of the scores. */
const MAX_CHUNK = 512;
/** Stretches are padded to a multiple of this at least, so that few graphs serve all prompts. */
const MIN_STEP = 16;
/** Rows of logits computed at once. */
const MAX_HEAD_ROWS = 64;

/** The final block's output of one token, `[hidden]`; `index` counts the tokens given. */
export type OnHidden = (row: number, index: number, hidden: Float32Array) => void;

export interface CachedDecoderOptions {
  config: DecoderConfig;
  device: Device;
  /** Polled between two blocks. */
  shouldStop?: (() => boolean) | undefined;
}

export class CachedDecoder {
  readonly config: DecoderConfig;
  readonly #sessions: SessionCache;
  readonly #shouldStop: () => boolean;
  readonly #weightNames: readonly string[];

  constructor({ config, device, shouldStop = () => false }: CachedDecoderOptions) {
    this.config = config;
    this.#sessions = new SessionCache(device);
    this.#shouldStop = shouldStop;
    this.#weightNames = blockTensors(config).map(({ name }) => name);
  }

  newCache(batch: number): KvCache {
    return new KvCache(this.config, batch);
  }

  /**
   * Reads more tokens of every sequence into the cache.
   * @param rows token ids of each sequence, possibly of different lengths
   * @throws DotaError `run.stopped`, `tokenizer.invalid` for an id outside of the vocabulary
   */
  async append(
    weights: WeightView,
    cache: KvCache,
    rows: readonly (readonly number[])[],
    onHidden: OnHidden,
  ): Promise<void> {
    this.#check(rows);
    const longest = Math.max(...rows.map((row) => row.length));
    for (let start = 0; start < longest; start += MAX_CHUNK) {
      const chunk = rows.map((row) => row.slice(start, start + MAX_CHUNK));
      await this.#appendChunk(weights, cache, chunk, (row, index, hidden) => {
        onHidden(row, start + index, hidden);
      });
    }
  }

  /**
   * Reads tokens and returns the logits that follow the last one of each sequence.
   * @param rows none empty
   * @returns `[batch, vocab]`
   */
  async nextLogits(
    weights: WeightView,
    cache: KvCache,
    rows: readonly (readonly number[])[],
  ): Promise<Float32Array> {
    const width = this.config.hiddenSize;
    const last = new Float32Array(rows.length * width);
    await this.append(weights, cache, rows, (row, index, hidden) => {
      if (index === (rows[row]?.length ?? 0) - 1) last.set(hidden, row * width);
    });
    return this.logits(weights, last);
  }

  /** @param hidden `[rows, hidden]` @returns `[rows, vocab]` */
  async logits(weights: WeightView, hidden: Float32Array): Promise<Float32Array> {
    const { config } = this;
    const width = config.hiddenSize;
    const count = hidden.length / width;
    const names = headTensors(config).map(({ name }) => name);
    const values = weights.read(names.map((name) => headTensorName(config, name)));
    const feeds = namedFeeds(names, values);
    const result = new Float32Array(count * config.vocabSize);
    for (let start = 0; start < count; start += MAX_HEAD_ROWS) {
      const own = Math.min(MAX_HEAD_ROWS, count - start);
      // Powers of two: a graph for each number of rows would be 64 of them.
      const rows = 2 ** Math.ceil(Math.log2(own));
      const session = await this.#sessions.get(`head ${rows}`, () =>
        buildHead(config, { tokens: rows, rows, dtype: 'float32' }, 'logits', headTensors(config)),
      );
      const part = hidden.subarray(start * width, (start + own) * width);
      const given = own === rows ? part : new Float32Array(rows * width);
      if (given !== part) given.set(part);
      const target = result.subarray(start * config.vocabSize, (start + own) * config.vocabSize);
      const logits = own === rows ? target : new Float32Array(rows * config.vocabSize);
      const all = Int32Array.from({ length: rows }, (_, i) => i);
      await session.run({ ...feeds, hidden: given, rows: all }, { logits: { value: logits } });
      if (logits !== target) target.set(logits.subarray(0, target.length));
    }
    return result;
  }

  async dispose(): Promise<void> {
    await this.#sessions.dispose();
  }

  async #appendChunk(
    weights: WeightView,
    cache: KvCache,
    rows: readonly (readonly number[])[],
    onHidden: OnHidden,
  ): Promise<void> {
    const { config } = this;
    const added = rows.map((row) => row.length);
    const longest = Math.max(...added);
    const sequence = longest === 1 ? 1 : paddedLength(longest, Infinity, MIN_STEP);
    cache.reserve(added);
    this.#sessions.beginPass();
    // A batch that has no past yet doesn't pay for empty slots.
    const past = cache.lengths.some((length) => length > 0) ? cache.capacity : 0;
    const shape = { batch: rows.length, sequence, past, dtype: 'float32' } as const;
    const session = await this.#sessions.get(`block ${rows.length}x${sequence}+${past}`, () =>
      buildCachedBlock(config, shape),
    );
    const tokens = paddedTokens(rows, sequence, cache.lengths);
    const context: HostArrays = {
      ...rotaryTables(config, tokens.positions),
      mask: cachedMask(cache.lengths, sequence, past, config.slidingWindow ?? Infinity),
    };
    const width = config.hiddenSize;
    let hidden = new Float32Array(tokens.ids.length * width);
    weights.gatherRows(embeddingName, tokens.ids, width, hidden);
    for (let layer = 0; layer < config.numLayers; layer++) {
      if (this.#shouldStop()) throw new DotaError('run.stopped', 'Stopped while generating.');
      const prefix = layerPrefix(layer);
      const values = weights.read(this.#weightNames.map((name) => prefix + name));
      const { key: past_key, value: past_value } = cache.layer(layer);
      const { output, key, value } = await session.run({
        ...context,
        ...namedFeeds(this.#weightNames, values),
        hidden,
        past_key,
        past_value,
      });
      cache.write(layer, key as Float32Array, value as Float32Array, sequence, added);
      hidden = output as Float32Array<ArrayBuffer>;
    }
    cache.advance(added);
    added.forEach((count, row) => {
      for (let t = 0; t < count; t++) {
        const at = row * sequence + t;
        onHidden(row, t, hidden.subarray(at * width, (at + 1) * width));
      }
    });
  }

  #check(rows: readonly (readonly number[])[]): void {
    const { vocabSize } = this.config;
    const wrong = rows.flat().find((id) => id < 0 || id >= vocabSize);
    if (wrong === undefined) return;
    throw new DotaError(
      'tokenizer.invalid',
      `Token id ${wrong} is outside of the model's vocabulary of ${vocabSize}.`,
      { next: 'Check that the tokenizer belongs to the model.' },
    );
  }
}

function namedFeeds(names: readonly string[], values: readonly Float32Array[]): HostArrays {
  return Object.fromEntries(names.map((name, i) => [frozenInput(name), values[i] as Float32Array]));
}

/** Right-padded ids and the positions that continue each sequence. */
function paddedTokens(
  rows: readonly (readonly number[])[],
  sequence: number,
  lengths: Readonly<Int32Array>,
): { ids: Int32Array; positions: Int32Array } {
  const ids = new Int32Array(rows.length * sequence);
  const positions = new Int32Array(ids.length);
  rows.forEach((row, b) => {
    ids.set(row, b * sequence);
    for (let t = 0; t < sequence; t++) positions[b * sequence + t] = (lengths[b] as number) + t;
  });
  return { ids, positions };
}

/**
 * `[batch, 1, 1, sequence, past + sequence]`: a query sees the filled slots and the tokens at hand
 * up to itself, at most `window` back (itself included).
 */
function cachedMask(
  lengths: Readonly<Int32Array>,
  sequence: number,
  past: number,
  window: number,
): Float32Array {
  const width = past + sequence;
  const mask = new Float32Array(lengths.length * sequence * width).fill(BLOCKED);
  lengths.forEach((length, b) => {
    for (let query = 0; query < sequence; query++) {
      const row = (b * sequence + query) * width;
      const oldest = Math.max(0, length + query - window + 1);
      mask.fill(0, row + Math.min(oldest, length), row + length);
      const first = Math.max(0, oldest - length);
      mask.fill(0, row + past + first, row + past + query + 1);
    }
  });
  return mask;
}
