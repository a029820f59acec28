/** Token embedding on the host: rows are copied, gradients of rows are added. */
import type { DecoderConfig } from '../../models/modelConfig';
import type { FrozenWeights } from './frozenWeights';
import { embeddingName, type ParameterGroup } from './parameterLayout';
import type { ParameterStore } from './parameterStore';

export class Embedding {
  readonly #config: DecoderConfig;
  readonly #frozen: FrozenWeights;
  readonly #store: ParameterStore;
  /** The matrix's place in the parameters, when it trains. */
  readonly #group: ParameterGroup | undefined;

  constructor(config: DecoderConfig, frozen: FrozenWeights, store: ParameterStore) {
    this.#config = config;
    this.#frozen = frozen;
    this.#store = store;
    const { layout } = store;
    // A tied matrix is the first tensor of the head's group.
    this.#group = layout.embedding ?? (config.tieWordEmbeddings ? layout.head : undefined);
  }

  get trains(): boolean {
    return this.#group !== undefined;
  }

  /** @returns `[ids.length, hidden]` */
  forward(ids: Int32Array): Float32Array {
    const width = this.#config.hiddenSize;
    const hidden = new Float32Array(ids.length * width);
    if (this.#group) {
      const table = this.#store.parameters(this.#group);
      ids.forEach((id, i) => hidden.set(table.subarray(id * width, (id + 1) * width), i * width));
    } else {
      this.#frozen.gatherRows(embeddingName, ids, width, hidden);
    }
    return hidden;
  }

  /** @param outputGradient `[ids.length, hidden]` */
  backward(ids: Int32Array, outputGradient: Float32Array): void {
    if (!this.#group) return;
    const width = this.#config.hiddenSize;
    const gradient = this.#store.gradient(this.#group);
    ids.forEach((id, i) => {
      for (let column = 0; column < width; column++) {
        const at = id * width + column;
        gradient[at] = (gradient[at] as number) + (outputGradient[i * width + column] as number);
      }
    });
  }
}
