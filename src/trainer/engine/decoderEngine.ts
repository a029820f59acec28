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
import { noteExternal } from '../ort/externalMemory';
import { batchContext } from './batchContext';
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

  constructor(parts: DecoderEngineParts) {
    this.#parts = parts;
  }

  get trainable(): readonly TrainableTensor[] {
    return this.#parts.store.layout.tensors;
  }

  async forwardBackward(batch: Batch, gradientScale: number): Promise<{ lossSum: number }> {
    const { config, embedding, blocks, head } = this.#parts;
    this.#check(batch);
    const context = batchContext(config, batch);
    // Below the lowest layer that trains, nothing is kept and no gradient flows.
    const lowest = embedding.trains ? 0 : blocks.firstTrainable;

    let hidden = embedding.forward(batch.inputIds);
    const tapes: (BlockTape | undefined)[] = [];
    for (let layer = 0; layer < config.numLayers; layer++) {
      this.#enter('forward', layer);
      const { output, tape } = await blocks.forward(layer, hidden, context, layer >= lowest);
      tapes.push(tape);
      hidden = output;
    }

    const { lossSum, inputGradient } = await head.loss(hidden, batch.labels, gradientScale);
    let gradient = inputGradient;
    for (let layer = config.numLayers - 1; layer >= lowest && gradient; layer--) {
      this.#enter('backward', layer);
      const needsInput = layer > lowest || embedding.trains;
      const tape = tapes.pop() as BlockTape;
      gradient = await blocks.backward(layer, tape, gradient, context, needsInput);
      noteExternal(tapeBytes(tape));
    }
    if (gradient) embedding.backward(batch.inputIds, gradient);
    return { lossSum };
  }

  async evaluate(batch: Batch): Promise<{ lossSum: number }> {
    const hidden = await this.#forward(batch);
    const { lossSum } = await this.#parts.head.loss(hidden, batch.labels);
    return { lossSum };
  }

  async logits(batch: Batch, positions: Int32Array): Promise<Float32Array> {
    const { config, head } = this.#parts;
    const hidden = await this.#forward(batch);
    const width = config.hiddenSize;
    const rows = new Float32Array(positions.length * width);
    positions.forEach((position, row) => {
      const token = row * batch.sequenceLength + position;
      rows.set(hidden.subarray(token * width, (token + 1) * width), row * width);
    });
    return head.logits(rows);
  }

  /** The last block's output, `[tokens, hidden]`. */
  async #forward(batch: Batch): Promise<Float32Array> {
    const { config, embedding, blocks } = this.#parts;
    this.#check(batch);
    const context = batchContext(config, batch);
    let hidden = embedding.forward(batch.inputIds);
    for (let layer = 0; layer < config.numLayers; layer++) {
      this.#enter('forward', layer);
      ({ output: hidden } = await blocks.forward(layer, hidden, context, false));
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

  async gradientNorm(): Promise<number> {
    return this.#parts.store.gradientNorm();
  }

  async optimizerStep(options: OptimizerOptions, gradNorm: number): Promise<void> {
    await this.#parts.store.adamWStep(options, gradNorm);
  }

  async zeroGradient(): Promise<void> {
    this.#parts.store.zeroGradient();
  }

  async findNonFinite(): Promise<string | undefined> {
    return this.#parts.store.findNonFinite();
  }

  async readState(): Promise<EngineState> {
    return this.#parts.store.readState();
  }

  async writeState(state: EngineStatePart): Promise<void> {
    this.#parts.store.writeState(state);
  }

  async readGradient(): Promise<Float32Array> {
    return this.#parts.store.readGradient();
  }

  async dispose(): Promise<void> {
    await this.#parts.sessions.dispose();
    await this.#parts.store.dispose();
    await this.#parts.device.dispose();
  }
}

function tapeBytes({ hidden, saved }: BlockTape): number {
  return Object.values(saved).reduce((sum, { byteLength }) => sum + byteLength, hidden.byteLength);
}
