/** The engine: forward, backward and update of a decoder, block by block. */
import type { DecoderConfig } from '../../models/modelConfig';
import { DotaError } from '../../protocol/errors';
import type {
  Batch,
  Engine,
  EngineState,
  EngineStatePart,
  OptimizerOptions,
  TrainableTensor,
} from '../engine';
import type { Device } from '../ort/device';
import { hostNumber, type Value } from '../ort/values';
import type { BatchContexts } from './batchContext';
import type { Blocks, BlockTape } from './blocks';
import type { Embedding } from './embedding';
import type { Head } from './head';
import type { ParameterStore } from './parameterStore';
import type { SessionCache } from './sessionCache';

export interface Progress {
  phase: 'forward' | 'backward';
  layer: number;
}

export interface DecoderEngineParts {
  config: DecoderConfig;
  contexts: BatchContexts;
  embedding: Embedding;
  blocks: Blocks;
  head: Head;
  store: ParameterStore;
  sessions: SessionCache;
  device: Device;
  shouldStop: () => boolean;
  onBlock: ((progress: Progress) => void) | undefined;
}

export class DecoderEngine implements Engine {
  readonly #parts: DecoderEngineParts;
  /** Losses of micro-batches, where they were computed, until somebody takes them. */
  #losses: Value[] = [];

  constructor(parts: DecoderEngineParts) {
    this.#parts = parts;
  }

  get trainable(): readonly TrainableTensor[] {
    return this.#parts.store.layout.tensors;
  }

  get optimizerBytes(): number {
    return this.#parts.store.momentBytes;
  }

  async forwardBackward(batch: Batch, gradientScale: number): Promise<void> {
    this.#check(batch);
    return this.#parts.device.scope(() => this.#forwardBackward(batch, gradientScale));
  }

  async #forwardBackward(batch: Batch, gradientScale: number): Promise<void> {
    const { config, contexts, embedding, blocks, head, device, sessions } = this.#parts;
    sessions.beginPass();
    const context = await contexts.of(batch);
    // Below the lowest layer that trains, nothing is kept and no gradient flows.
    const lowest = embedding.trains ? 0 : blocks.firstTrainable;

    let hidden = await embedding.forward(batch.inputIds);
    const tapes: (() => BlockTape)[] = [];
    for (let layer = 0; layer < config.numLayers; layer++) {
      this.#enter('forward', layer);
      const { output, tape } = await blocks.forward(layer, hidden, context, layer >= lowest);
      if (tape) tapes.push(this.#setAside(tape));
      else await device.free([hidden]);
      hidden = output;
    }

    const { lossSum, inputGradient } = await head.loss(hidden, batch.labels, gradientScale);
    // Read now it would be waited for, with the backward pass still to be handed to a GPU.
    device.keep(lossSum);
    this.#losses.push(lossSum);
    await device.free([hidden]);
    let gradient = inputGradient;
    for (let layer = config.numLayers - 1; layer >= lowest && gradient; layer--) {
      this.#enter('backward', layer);
      const needsInput = layer > lowest || embedding.trains;
      const tape = (tapes.pop() as () => BlockTape)();
      const next = await blocks.backward(layer, tape, gradient, context, needsInput);
      await device.free([gradient, tape.hidden, ...Object.values(tape.saved)]);
      gradient = next;
    }
    if (gradient) await embedding.backward(batch.inputIds, gradient);
  }

  async takeLossSum(): Promise<number> {
    let sum = 0;
    for (const value of this.#losses.splice(0)) sum += await this.#number(value);
    return sum;
  }

  /** Reads a single number and frees it. */
  async #number(value: Value): Promise<number> {
    const { device } = this.#parts;
    const number = hostNumber(await device.read(value));
    await device.free([value]);
    return number;
  }

  /** Until the backward pass comes back to the block. */
  #setAside({ hidden, saved }: BlockTape): () => BlockTape {
    const takeBack = this.#parts.device.setAside({ hidden, ...saved });
    return () => {
      const { hidden: before, ...others } = takeBack();
      return { hidden: before as Value, saved: others };
    };
  }

  async evaluate(batch: Batch): Promise<{ lossSum: number }> {
    this.#check(batch);
    const { head, device } = this.#parts;
    return device.scope(async () => {
      const hidden = await this.#forward(batch);
      const { lossSum } = await head.loss(hidden, batch.labels);
      return { lossSum: await this.#number(lossSum) };
    });
  }

  async logits(batch: Batch, positions: Int32Array): Promise<Float32Array> {
    this.#check(batch);
    const { head, device } = this.#parts;
    const tokens = batch.batchSize * batch.sequenceLength;
    const rows = positions.map((position, row) => row * batch.sequenceLength + position);
    return device.scope(async () => head.logits(await this.#forward(batch), tokens, rows));
  }

  /** The last block's output, `[tokens, hidden]`; each block's input is freed at once. */
  async #forward(batch: Batch): Promise<Value> {
    const { config, contexts, embedding, blocks, device, sessions } = this.#parts;
    sessions.beginPass();
    const context = await contexts.of(batch);
    let hidden = await embedding.forward(batch.inputIds);
    for (let layer = 0; layer < config.numLayers; layer++) {
      this.#enter('forward', layer);
      const { output } = await blocks.forward(layer, hidden, context, false);
      await device.free([hidden]);
      hidden = output;
    }
    return hidden;
  }

  #enter(phase: Progress['phase'], layer: number): void {
    if (this.#parts.shouldStop()) throw new DotaError('run.stopped', 'The run was asked to stop.');
    this.#parts.onBlock?.({ phase, layer });
  }

  /** Ids beyond the vocabulary would read other memory or fail deep inside a kernel. */
  #check({ inputIds, labels }: Batch): void {
    const { vocabSize } = this.#parts.config;
    const outside = [...inputIds].find((id) => id < 0 || id >= vocabSize);
    const wrong = outside ?? labels.find((label) => label >= vocabSize);
    if (wrong === undefined) return;
    throw new DotaError(
      'tokenizer.invalid',
      `Token id ${wrong} is outside of the model's vocabulary of ${vocabSize}.`,
      { next: 'Check that the tokenizer belongs to the model.' },
    );
  }

  gradientNorm(): Promise<number> {
    const { device, store } = this.#parts;
    return device.scope(() => store.gradientNorm());
  }

  optimizerStep(options: OptimizerOptions, gradNorm: number): Promise<void> {
    const { device, store } = this.#parts;
    return device.scope(() => store.adamWStep(options, gradNorm));
  }

  async zeroGradient(): Promise<void> {
    const { device, store } = this.#parts;
    await device.free(this.#losses.splice(0));
    await device.scope(() => store.zeroGradient());
  }

  findNonFinite(): Promise<string | undefined> {
    return this.#parts.store.findNonFinite();
  }

  readState(): Promise<EngineState> {
    return this.#parts.store.readState();
  }

  writeState(state: EngineStatePart): Promise<void> {
    return this.#parts.store.writeState(state);
  }

  readGradient(): Promise<Float32Array> {
    return this.#parts.store.readGradient();
  }

  async dispose(): Promise<void> {
    const { sessions, store, device } = this.#parts;
    await sessions.dispose();
    await store.dispose();
    await device.dispose();
  }
}
