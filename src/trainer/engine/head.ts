/** Final norm, language-model head and loss. */
import { headRows } from '../../graph/decoder/headChunks';
import { buildHead, type HeadMode, headTensors } from '../../graph/decoder/headGraph';
import { frozenInput, type FrozenTensorShape } from '../../graph/decoder/blockGraphs';
import { storageSignature } from '../../graph/layers/storedWeight';
import type { DecoderConfig } from '../../models/modelConfig';
import type { Device, Session } from '../ort/device';
import { hostArray, type Value, type Values } from '../ort/values';
import type { FrozenWeights } from './frozenWeights';
import { headTensorName, projectionName } from './parameterLayout';
import type { ParameterStore } from './parameterStore';
import type { SessionCache } from './sessionCache';
import { SlicedHead } from './slicedHead';
import { StreamedHead } from './streamedHead';

/** Labels below this are ignored. */
const FIRST_LABEL = 0;
export interface HeadOptions {
  config: DecoderConfig;
  frozen: FrozenWeights;
  store: ParameterStore;
  sessions: SessionCache;
  device: Device;
}

/**
 * Only rows that carry a label reach the head, in chunks, so that neither the logits of ignored
 * positions nor those of all tokens at once are ever computed.
 */
export class Head {
  readonly #options: HeadOptions;
  /** The head's tensors as they are stored; undefined where they train. */
  readonly #frozen: readonly FrozenTensorShape[] | undefined;
  /** Where the projection isn't in the host's memory as fp32, and must not be. */
  readonly #streamed: StreamedHead | undefined;
  /** Where the projection is too large for one of the device's buffers. */
  readonly #sliced: SlicedHead | undefined;

  constructor(options: HeadOptions) {
    this.#options = options;
    const { config, device, frozen, store } = options;
    const streams = device.kind === 'cpu' && !store.layout.head && !frozen.resident;
    this.#streamed = streams ? new StreamedHead(options) : undefined;
    const parts = frozen.parts(projectionName(config));
    this.#sliced = parts && new SlicedHead({ ...options, parts });
    this.#frozen = store.layout.head
      ? undefined
      : headTensors(config).map((tensor) => {
          const storage = frozen.storage(headTensorName(config, tensor.name));
          return { ...tensor, ...(storage && { storage }) };
        });
  }

  /**
   * @param hidden `[tokens, hidden]`
   * @param labels `[tokens]`, negative where ignored
   * @param gradientScale factor of the gradients; undefined computes none
   * @returns the losses' sum in nats, a single number where it was computed, and the gradient of `hidden`
   */
  async loss(
    hidden: Value,
    labels: Int32Array,
    gradientScale?: number,
  ): Promise<{ lossSum: Value; inputGradient: Value | undefined }> {
    const { config, device } = this.#options;
    const labelled = labelledRows(labels);
    if (this.#streamed) {
      const values = hostArray(hidden) as Float32Array;
      return this.#streamed.loss(values, labelled, labels, gradientScale);
    }
    if (this.#sliced) return this.#sliced.loss(hidden, labelled, labels, gradientScale);
    const chunkRows = headRows(config, labelled.length, labels.length);
    // Read once for all chunks.
    const weightFeeds = this.#weights();
    let lossSum: Value = Float32Array.of(0);
    let inputGradient: Value | undefined;
    for (let start = 0; start < labelled.length; start += chunkRows) {
      const chunk = labelled.subarray(start, start + chunkRows);
      // Rows beyond the chunk repeat row 0 with weight 0.
      const rows = new Int32Array(chunkRows);
      const chunkLabels = new Int32Array(chunkRows);
      const weights = new Float32Array(chunkRows);
      chunk.forEach((row, i) => {
        rows[i] = row;
        chunkLabels[i] = labels[row] as number;
        weights[i] = 1;
      });
      const withGradient = inputGradient ? 'gradient' : 'first gradient';
      const mode: HeadMode = gradientScale === undefined ? 'loss' : withGradient;
      const results: Record<string, Value> = await this.#run(mode, labels.length, {
        ...weightFeeds,
        ...this.#gradient(),
        hidden,
        rows,
        labels: chunkLabels,
        weights,
        scale: Float32Array.of(gradientScale ?? 0),
        loss_sum: lossSum,
        ...(inputGradient && { hidden_gradient: inputGradient }),
      });
      lossSum = results['next_loss_sum'] as Value;
      if (inputGradient) await device.free([inputGradient]);
      inputGradient = results['next_hidden_gradient'];
    }
    return { lossSum, inputGradient };
  }

  /**
   * @param hidden `[tokens, hidden]`
   * @param rows the rows of `hidden` to take
   * @returns `[rows, vocab]`
   */
  async logits(hidden: Value, tokens: number, rows: Int32Array): Promise<Float32Array> {
    if (this.#streamed) return this.#streamed.logits(hostArray(hidden) as Float32Array, rows);
    if (this.#sliced) return this.#sliced.logits(hidden, tokens, rows);
    const { logits } = await this.#run('logits', tokens, { hidden, rows, ...this.#weights() });
    return hostArray(logits) as Float32Array;
  }

  /** Inputs that hold the head's own tensors; frozen ones are valid until others are read. */
  #weights(): Values {
    const { config, frozen, store } = this.#options;
    const group = store.layout.head;
    if (group) return { parameters: store.group(group).parameters.value };
    return frozen.feeds(
      headTensors(config).map(({ name }) => ({
        name: headTensorName(config, name),
        input: frozenInput(name),
      })),
    );
  }

  /** A GPU replaces the gradient at every run, so it is looked up anew. */
  #gradient(): Values {
    const { store } = this.#options;
    const group = store.layout.head;
    return group ? { gradient: store.group(group).gradient.value } : {};
  }

  async #run(
    mode: HeadMode,
    tokens: number,
    feeds: Values & { rows: Int32Array },
  ): ReturnType<Session['run']> {
    const { config, store, sessions } = this.#options;
    const group = store.layout.head;
    const rows = feeds.rows.length;
    const stored = this.#frozen?.map(({ storage }) => storage && storageSignature(storage)).join();
    const session = await sessions.get(
      `head ${mode} ${tokens} ${rows} ${stored}`,
      () => buildHead(config, { tokens, rows, dtype: 'float32' }, mode, this.#frozen),
      { host: ['logits'] },
    );
    const trains = group && mode.endsWith('gradient');
    return session.run(feeds, trains ? { next_gradient: store.group(group).gradient } : {});
  }
}

function labelledRows(labels: Int32Array): Int32Array {
  return Int32Array.from(labels.keys()).filter((row) => (labels[row] as number) >= FIRST_LABEL);
}
