/** Final norm, language-model head and loss. */
import { headRows } from '../../graph/decoder/headChunks';
import { buildHead, type HeadMode, headTensors } from '../../graph/decoder/headGraph';
import { frozenInput } from '../../graph/decoder/blockGraphs';
import type { DecoderConfig } from '../../models/modelConfig';
import type { Session } from '../ort/device';
import type { HostArrays } from '../ort/hostArray';
import type { FrozenWeights } from './frozenWeights';
import { headTensorName } from './parameterLayout';
import type { ParameterStore } from './parameterStore';
import type { SessionCache } from './sessionCache';
import { StreamedHead } from './streamedHead';

/** Labels below this are ignored. */
const FIRST_LABEL = 0;
export interface HeadOptions {
  config: DecoderConfig;
  frozen: FrozenWeights;
  store: ParameterStore;
  sessions: SessionCache;
}

/**
 * Only rows that carry a label reach the head, in chunks, so that neither the logits of ignored
 * positions nor those of all tokens at once are ever computed.
 */
export class Head {
  readonly #options: HeadOptions;
  /** Where the projection isn't in memory as fp32, and must not be. */
  readonly #streamed: StreamedHead | undefined;

  constructor(options: HeadOptions) {
    this.#options = options;
    const trains = options.store.layout.head !== undefined;
    this.#streamed = trains || options.frozen.resident ? undefined : new StreamedHead(options);
  }

  /**
   * @param hidden `[tokens, hidden]`
   * @param labels `[tokens]`, negative where ignored
   * @param gradientScale factor of the gradients; undefined computes none
   * @returns the losses' sum in nats, and the gradient of `hidden`
   */
  async loss(
    hidden: Float32Array,
    labels: Int32Array,
    gradientScale?: number,
  ): Promise<{ lossSum: number; inputGradient: Float32Array | undefined }> {
    const width = this.#options.config.hiddenSize;
    const mode = gradientScale === undefined ? 'loss' : 'gradient';
    const inputGradient = mode === 'gradient' ? new Float32Array(hidden.length) : undefined;
    const rows = labelledRows(labels);
    if (this.#streamed) return this.#streamed.loss(hidden, rows, labels, gradientScale);
    const chunkRows = headRows(this.#options.config, rows.length, labels.length);
    const weightFeeds = this.#weights();
    let lossSum = 0;
    for (let start = 0; start < rows.length; start += chunkRows) {
      const chunk = rows.subarray(start, start + chunkRows);
      const gathered = new Float32Array(chunkRows * width);
      const chunkLabels = new Int32Array(chunkRows);
      const weights = new Float32Array(chunkRows);
      chunk.forEach((row, i) => {
        gathered.set(hidden.subarray(row * width, (row + 1) * width), i * width);
        chunkLabels[i] = labels[row] as number;
        weights[i] = 1;
      });
      const results = await this.#run(mode, chunkRows, {
        ...weightFeeds,
        hidden: gathered,
        labels: chunkLabels,
        weights,
        scale: Float32Array.of(gradientScale ?? 0),
      });
      const losses = results['losses'] as Float32Array;
      for (let i = 0; i < chunk.length; i++) lossSum += losses[i] as number;
      if (inputGradient) {
        const rowGradients = results['input_gradient'] as Float32Array;
        chunk.forEach((row, i) => {
          inputGradient.set(rowGradients.subarray(i * width, (i + 1) * width), row * width);
        });
      }
    }
    return { lossSum, inputGradient };
  }

  /** @param hidden `[rows, hidden]` @returns `[rows, vocab]` */
  async logits(hidden: Float32Array): Promise<Float32Array> {
    if (this.#streamed) return this.#streamed.logits(hidden);
    const rows = hidden.length / this.#options.config.hiddenSize;
    const { logits } = await this.#run('logits', rows, { hidden, ...this.#weights() });
    return logits as Float32Array;
  }

  /** Inputs that hold the head's own tensors; frozen ones are valid until others are read. */
  #weights(): HostArrays {
    const { config, frozen, store } = this.#options;
    const group = store.layout.head;
    if (group) return { parameters: store.parameters(group), gradient: store.gradient(group) };
    const names = headTensors(config).map(({ name }) => name);
    const values = frozen.read(names.map((name) => headTensorName(config, name)));
    return Object.fromEntries(
      names.map((name, i) => [frozenInput(name), values[i] as Float32Array]),
    );
  }

  async #run(mode: HeadMode, rows: number, feeds: HostArrays): ReturnType<Session['run']> {
    const { config, store, sessions } = this.#options;
    const group = store.layout.head;
    const session = await sessions.get(`head ${mode} ${rows}`, () =>
      buildHead(config, { rows, dtype: 'float32' }, mode, group !== undefined),
    );
    return session.run(feeds, group && { next_gradient: store.gradient(group) });
  }
}

function labelledRows(labels: Int32Array): Int32Array {
  return Int32Array.from(labels.keys()).filter((row) => (labels[row] as number) >= FIRST_LABEL);
}
