/**
 * The head where the projection is frozen and stays in the file's type: its fp32 copy, half as large
 * as a small model's whole checkpoint, never exists, nor do the logits of the whole vocabulary.
 */
import { frozenInput } from '../../graph/decoder/blockGraphs';
import { streamedColumns, streamedRows } from '../../graph/decoder/headChunks';
import { buildHead, headTensors } from '../../graph/decoder/headGraph';
import {
  buildStreamedEnd,
  buildStreamedPart,
  START_MAXIMUM,
} from '../../graph/decoder/streamedHeadGraph';
import type { DecoderConfig } from '../../models/modelConfig';
import type { Device } from '../ort/device';
import { hostArray, type HostArrays, type Values } from '../ort/values';
import type { FrozenWeights } from './frozenWeights';
import { finalNormName, projectionName } from './parameterLayout';
import type { SessionCache } from './sessionCache';

/** Labelled rows of a batch, a chunk of them, with their running values. */
interface Chunk {
  /** Places in the batch; shorter than the chunk where it is padded. */
  rows: Int32Array;
  hidden: Float32Array;
  target: Float32Array;
  weights: Float32Array;
  state: HostArrays;
}

export interface StreamedHeadOptions {
  config: DecoderConfig;
  frozen: FrozenWeights;
  sessions: SessionCache;
  device: Pick<Device, 'free'>;
  /** Vocabulary entries a part; by `streamedColumns` when absent. */
  columns?: number;
}

export class StreamedHead {
  readonly #options: StreamedHeadOptions;
  readonly #columns: number;

  constructor(options: StreamedHeadOptions) {
    this.#options = options;
    this.#columns = options.columns ?? streamedColumns(options.config);
  }

  /**
   * @param hidden `[tokens, hidden]`
   * @param rows the tokens that carry a label
   * @param labels `[tokens]`
   * @param gradientScale factor of the gradients; undefined computes none
   */
  async loss(
    hidden: Float32Array,
    rows: Int32Array,
    labels: Int32Array,
    gradientScale?: number,
  ): Promise<{ lossSum: Float64Array; inputGradient: Float32Array | undefined }> {
    const { config, frozen, sessions, device } = this.#options;
    const withGradient = gradientScale !== undefined;
    const size = streamedRows(config, rows.length);
    const chunks = this.#chunks(hidden, rows, labels, size, withGradient);
    const norm = this.#norm();
    for (let from = 0; from < config.vocabSize; from += this.#columns) {
      const columns = Math.min(this.#columns, config.vocabSize - from);
      const part = frozen.readRows(projectionName(config), from, columns, config.hiddenSize);
      const session = await sessions.get(`head part ${withGradient} ${size}x${columns}`, () =>
        buildStreamedPart(config, { rows: size, columns, dtype: 'float32' }, withGradient),
      );
      for (const chunk of chunks) {
        const next = await session.run({ ...norm, hidden: chunk.hidden, part, ...chunk.state });
        await device.free(Object.values(chunk.state));
        chunk.state = {
          largest: float32(next, 'next_largest'),
          total: float32(next, 'next_total'),
          ...(withGradient && { mixed: float32(next, 'next_mixed') }),
        };
      }
    }
    const end = await sessions.get(`head end ${withGradient} ${size}`, () =>
      buildStreamedEnd(config, { rows: size, dtype: 'float32' }, withGradient),
    );
    const inputGradient = withGradient ? new Float32Array(hidden.length) : undefined;
    let lossSum = 0;
    for (const { rows: places, hidden: gathered, target, weights, state } of chunks) {
      const scale = Float32Array.of(gradientScale ?? 0);
      const feeds = { ...norm, hidden: gathered, target, weights, scale, ...state };
      const results = await end.run(feeds);
      const losses = float32(results, 'losses');
      for (let i = 0; i < places.length; i++) lossSum += losses[i] as number;
      if (!inputGradient) continue;
      copyRows(float32(results, 'input_gradient'), inputGradient, config.hiddenSize, places);
    }
    return { lossSum: Float64Array.of(lossSum), inputGradient };
  }

  /**
   * @param hidden `[tokens, hidden]`
   * @param rows the rows of `hidden` to take
   * @returns `[rows, vocab]`
   */
  async logits(hidden: Float32Array, rows: Int32Array): Promise<Float32Array> {
    const { config, frozen, sessions, device } = this.#options;
    const { hiddenSize, vocabSize } = config;
    const tokens = hidden.length / hiddenSize;
    const all = new Float32Array(rows.length * vocabSize);
    const norm = this.#norm();
    for (let from = 0; from < vocabSize; from += this.#columns) {
      const columns = Math.min(this.#columns, vocabSize - from);
      const part = frozen.readRows(projectionName(config), from, columns, hiddenSize);
      const narrow = { ...config, vocabSize: columns };
      const shape = { tokens, rows: rows.length, dtype: 'float32' } as const;
      const session = await sessions.get(`head logits ${tokens} ${rows.length}x${columns}`, () =>
        buildHead(narrow, shape, 'logits', headTensors(narrow)),
      );
      const feeds = { ...norm, hidden, rows, [frozenInput('projection')]: part };
      const logits = float32(await session.run(feeds), 'logits');
      rows.forEach((_, row) => {
        all.set(logits.subarray(row * columns, (row + 1) * columns), row * vocabSize + from);
      });
      await device.free([logits]);
    }
    return all;
  }

  /** A copy, since what `read` gives is overwritten by the projection's parts. */
  #norm(): HostArrays {
    const [norm] = this.#options.frozen.read([finalNormName]) as [Float32Array];
    return { [frozenInput('norm')]: norm.slice() };
  }

  #chunks(
    hidden: Float32Array,
    rows: Int32Array,
    labels: Int32Array,
    size: number,
    withGradient: boolean,
  ): Chunk[] {
    const { config, frozen } = this.#options;
    const width = config.hiddenSize;
    return Array.from({ length: Math.ceil(rows.length / size) }, (_, n): Chunk => {
      const places = rows.subarray(n * size, (n + 1) * size);
      const gathered = new Float32Array(size * width);
      const target = new Float32Array(size * width);
      places.forEach((row, i) => {
        gathered.set(hidden.subarray(row * width, (row + 1) * width), i * width);
      });
      const wanted = places.map((row) => labels[row] as number);
      frozen.gatherRows(projectionName(config), wanted, width, target);
      return {
        rows: places,
        hidden: gathered,
        target,
        weights: new Float32Array(size).fill(1, 0, places.length),
        state: {
          largest: new Float32Array(size).fill(START_MAXIMUM),
          total: new Float32Array(size),
          ...(withGradient && { mixed: new Float32Array(size * width) }),
        },
      };
    });
  }
}

/** Copies the first rows of `from` to the given rows of `into`. */
function copyRows(from: Float32Array, into: Float32Array, width: number, places: Int32Array): void {
  places.forEach((row, i) => {
    into.set(from.subarray(i * width, (i + 1) * width), row * width);
  });
}

/** The streamed head runs on the CPU, where every output is an array. */
function float32(results: Values, name: string): Float32Array {
  return hostArray(results[name]) as Float32Array;
}
