/**
 * Token embedding. On the CPU rows are copied and gradients of rows added in place; on a GPU the
 * table lies there, in the form it is stored in, and only the ids cross over.
 */
import { buildEmbedding, buildEmbeddingBackward } from '../../graph/decoder/headGraph';
import { frozenInput } from '../../graph/decoder/blockGraphs';
import type { DecoderConfig } from '../../models/modelConfig';
import type { Device } from '../ort/device';
import { hostArray, type Value } from '../ort/values';
import type { FrozenWeights } from './frozenWeights';
import { embeddingName, type ParameterGroup } from './parameterLayout';
import type { ParameterStore } from './parameterStore';
import type { SessionCache } from './sessionCache';
import { lookUpParts } from './slicedTable';

export interface Embedding {
  /** True when the table trains. */
  readonly trains: boolean;
  /** @returns `[ids.length, hidden]` */
  forward(ids: Int32Array): Promise<Value>;
  /** @param outputGradient `[ids.length, hidden]` */
  backward(ids: Int32Array, outputGradient: Value): Promise<void>;
}

export interface EmbeddingOptions {
  config: DecoderConfig;
  frozen: FrozenWeights;
  store: ParameterStore;
  sessions: SessionCache;
  device: Device;
}

export function openEmbedding(options: EmbeddingOptions): Embedding {
  const { config, store, device } = options;
  // A tied matrix is the first tensor of the head's group.
  const { layout } = store;
  const group = layout.embedding ?? (config.tieWordEmbeddings ? layout.head : undefined);
  return device.kind === 'cpu'
    ? new HostEmbedding(options, group)
    : new DeviceEmbedding(options, group);
}

class HostEmbedding implements Embedding {
  readonly trains: boolean;
  readonly #width: number;
  readonly #frozen: FrozenWeights;
  readonly #store: ParameterStore;
  /** The matrix's place in the parameters, when it trains. */
  readonly #group: ParameterGroup | undefined;

  constructor({ config, frozen, store }: EmbeddingOptions, group: ParameterGroup | undefined) {
    this.#width = config.hiddenSize;
    this.#frozen = frozen;
    this.#store = store;
    this.#group = group;
    this.trains = group !== undefined;
  }

  forward(ids: Int32Array): Promise<Value> {
    const width = this.#width;
    const hidden = new Float32Array(ids.length * width);
    if (this.#group) {
      const table = hostArray(this.#store.group(this.#group).parameters.value);
      ids.forEach((id, i) => hidden.set(table.subarray(id * width, (id + 1) * width), i * width));
    } else {
      this.#frozen.gatherRows(embeddingName, ids, width, hidden);
    }
    return Promise.resolve(hidden);
  }

  backward(ids: Int32Array, outputGradient: Value): Promise<void> {
    if (!this.#group) return Promise.resolve();
    const width = this.#width;
    const update = hostArray(outputGradient);
    const gradient = hostArray(this.#store.group(this.#group).gradient.value);
    ids.forEach((id, i) => {
      for (let column = 0; column < width; column++) {
        const at = id * width + column;
        gradient[at] = (gradient[at] as number) + (update[i * width + column] as number);
      }
    });
    return Promise.resolve();
  }
}

class DeviceEmbedding implements Embedding {
  readonly trains: boolean;
  readonly #options: EmbeddingOptions;
  readonly #group: ParameterGroup | undefined;

  constructor(options: EmbeddingOptions, group: ParameterGroup | undefined) {
    this.#options = options;
    this.#group = group;
    this.trains = group !== undefined;
  }

  async forward(ids: Int32Array): Promise<Value> {
    const { config, frozen, store, sessions } = this.#options;
    const group = this.#group;
    const parts = frozen.parts(embeddingName);
    if (parts) return lookUpParts(parts, ids, this.#options);
    const storage = frozen.storage(embeddingName) ?? { form: 'f32' };
    const session = await sessions.get(`embed ${ids.length}`, () =>
      buildEmbedding(config, ids.length, group ? { groupSize: group.size } : { storage }),
    );
    const table = group
      ? { parameters: store.group(group).parameters.value }
      : frozen.feeds([{ name: embeddingName, input: frozenInput('table') }]);
    const { hidden } = await session.run({ ids, ...table });
    return hidden as Value;
  }

  async backward(ids: Int32Array, outputGradient: Value): Promise<void> {
    const group = this.#group;
    if (!group) return;
    const { config, store, sessions } = this.#options;
    const session = await sessions.get(`embed backward ${ids.length}`, () =>
      buildEmbeddingBackward(config, ids.length, group.size),
    );
    const { gradient } = store.group(group);
    await session.run(
      { ids, output_gradient: outputGradient, gradient: gradient.value },
      { next_gradient: gradient },
    );
  }
}
