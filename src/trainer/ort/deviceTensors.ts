/**
 * The only owner of tensors in a GPU's memory. The rest of the trainer holds `DeviceTensor`, a handle
 * with nothing in it, so that what the runtime punishes cannot be written down:
 * - reading such a tensor's data ends the process: only `read` does, through a graph that copies;
 * - a session must outlive what it has produced: its release waits for its last tensor;
 * - nothing is freed by the collector: what a scope has not given away is freed at its end;
 * - a session whose run has failed returns wrong outputs afterwards: it refuses to run again (see
 *   ./device).
 */
import './noTelemetry';
import './binaryThere';
import * as ort from 'onnxruntime-node';
import type { DType } from '../../graph/dtype';
import { Graph } from '../../graph/graph';
import { type Shape, sizeOf } from '../../graph/shape';
import { deviceError } from './deviceErrors';
import type { HostArray } from './values';

/** A handle; everything about it is known to its owner. */
export class DeviceTensor {
  constructor(
    readonly dtype: DType,
    readonly shape: Shape,
  ) {}
}

export interface DeviceMemory {
  /** Tensors that are alive. */
  tensors: number;
  bytes: number;
  /** Largest `bytes` so far. */
  peakBytes: number;
}

type OpenOptions = Pick<ort.InferenceSession.SessionOptions, 'preferredOutputLocation'>;
type OpenSession = (model: Uint8Array, options: OpenOptions) => Promise<ort.InferenceSession>;

/** A session and how many of its tensors live. */
class Producer {
  readonly session: ort.InferenceSession;
  #tensors = 0;
  #released = false;

  constructor(session: ort.InferenceSession) {
    this.session = session;
  }

  produced(): void {
    this.#tensors += 1;
  }

  async freed(): Promise<void> {
    this.#tensors -= 1;
    if (this.#released && this.#tensors === 0) await this.session.release();
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    if (this.#tensors === 0) await this.session.release();
  }
}
export type { Producer };

interface Owned {
  tensor: ort.Tensor;
  producer: Producer;
  bytes: number;
}

const bytesOf: Record<DType, number> = {
  float32: 4,
  float64: 8,
  float16: 2,
  int32: 4,
  int64: 8,
  uint8: 1,
  bool: 1,
};

export class DeviceTensors {
  readonly #open: OpenSession;
  readonly #owned = new Map<DeviceTensor, Owned>();
  /** Copying sessions, by direction, type and shape. */
  readonly #copiers = new Map<string, Producer>();
  #scope: Set<DeviceTensor> | undefined;
  #bytes = 0;
  #peakBytes = 0;

  constructor(open: OpenSession) {
    this.#open = open;
  }

  get memory(): DeviceMemory {
    return { tensors: this.#owned.size, bytes: this.#bytes, peakBytes: this.#peakBytes };
  }

  /** Takes a session into its keeping. */
  producer(session: ort.InferenceSession): Producer {
    return new Producer(session);
  }

  /** Takes a tensor that a session has just produced; it is freed with the scope at hand. */
  adopt(tensor: ort.Tensor, producer: Producer, dtype: DType, shape: Shape): DeviceTensor {
    const handle = new DeviceTensor(dtype, shape);
    const bytes = bytesOf[dtype] * sizeOf(shape);
    this.#owned.set(handle, { tensor, producer, bytes });
    producer.produced();
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    this.#scope?.add(handle);
    return handle;
  }

  /** Frees all tensors that `work` has produced, save those given to `keep`. */
  async scope<T>(work: () => Promise<T>): Promise<T> {
    if (this.#scope) throw new Error('scopes of device tensors do not nest');
    const scope = new Set<DeviceTensor>();
    this.#scope = scope;
    let failed = true;
    try {
      const result = await work();
      failed = false;
      return result;
    } finally {
      this.#scope = undefined;
      for (const handle of scope) {
        await this.free(handle).catch((error: unknown) => {
          // On a device that is lost nothing can be freed; what ended the work matters more.
          if (!failed) throw error;
        });
      }
    }
  }

  /** Lets a tensor outlive the scope it was produced in. */
  keep(handle: DeviceTensor): void {
    this.#scope?.delete(handle);
  }

  async free(handle: DeviceTensor): Promise<void> {
    const owned = this.#owned.get(handle);
    if (!owned) return;
    this.#owned.delete(handle);
    this.#scope?.delete(handle);
    this.#bytes -= owned.bytes;
    owned.tensor.dispose();
    await owned.producer.freed();
  }

  /** The runtime's tensor, to be fed. @throws Error when it was freed */
  tensorOf(handle: DeviceTensor): ort.Tensor {
    const owned = this.#owned.get(handle);
    if (!owned) throw new Error(`a device tensor [${handle.shape.join(', ')}] was freed before`);
    return owned.tensor;
  }

  /** Copies an array to the GPU, where it stays until it is freed. */
  async upload(data: HostArray, dtype: DType, shape: Shape): Promise<DeviceTensor> {
    const copier = await this.#copier('up', dtype, shape);
    const host = new ort.Tensor(dtype as 'float32', data as Float32Array, [1, ...shape]);
    const { copy } = await copied(copier, host);
    if (!copy) throw new Error('the upload returned nothing');
    const handle = this.adopt(copy, copier, dtype, shape);
    this.keep(handle);
    return handle;
  }

  async read(handle: DeviceTensor): Promise<HostArray> {
    const copier = await this.#copier('down', handle.dtype, handle.shape);
    const { copy } = await copied(copier, this.tensorOf(handle));
    if (!copy) throw new Error('the download returned nothing');
    return copy.data as HostArray;
  }

  /**
   * A copy is a change of shape, between `[1, ...shape]` on the host and `shape` on the GPU: that
   * operation has kernels for every type, Identity does not.
   */
  async #copier(direction: 'up' | 'down', dtype: DType, shape: Shape): Promise<Producer> {
    const key = [direction, dtype, ...shape].join();
    const known = this.#copiers.get(key);
    if (known) return known;
    const host = [1, ...shape];
    const [from, to] = direction === 'up' ? [host, shape] : [shape, host];
    const graph = new Graph();
    const source = graph.input('source', dtype, from);
    graph.output('copy', graph.node('Reshape', [source, graph.integers(to)], to));
    const location = direction === 'up' ? 'gpu-buffer' : 'cpu';
    const session = await this.#open(graph.build().model, { preferredOutputLocation: location });
    const copier = new Producer(session);
    this.#copiers.set(key, copier);
    return copier;
  }

  /** Frees everything: tensors first, then the sessions that copied. */
  async dispose(): Promise<void> {
    for (const handle of [...this.#owned.keys()]) await this.free(handle);
    for (const copier of this.#copiers.values()) await copier.release();
    this.#copiers.clear();
  }
}

async function copied(
  { session }: Producer,
  source: ort.Tensor,
): Promise<ort.InferenceSession.OnnxValueMapType> {
  try {
    return await session.run({ source });
  } catch (cause) {
    throw deviceError(cause);
  }
}
