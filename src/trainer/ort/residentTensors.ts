/**
 * Copies of constant arrays in the GPU's memory. Without them every block's weights would cross the
 * bus at every run.
 */
import * as ort from 'onnxruntime-node';
import { Graph } from '../../graph/graph';
import type { ValueInfo } from '../../graph/onnx';
import type { HostArray } from './hostArray';

type OpenSession = (model: Uint8Array, options: UploadOptions) => Promise<ort.InferenceSession>;
type UploadOptions = Pick<ort.InferenceSession.SessionOptions, 'preferredOutputLocation'>;

export class ResidentTensors {
  readonly #open: OpenSession;
  readonly #constant = new WeakSet<HostArray>();
  readonly #uploaded = new Map<HostArray, ort.Tensor>();
  /** One a shape. A session must outlive the tensors it has produced. */
  readonly #uploaders = new Map<string, ort.InferenceSession>();

  constructor(open: OpenSession) {
    this.#open = open;
  }

  pin(arrays: readonly HostArray[]): void {
    for (const array of arrays) this.#constant.add(array);
  }

  /** The tensor of a pinned fp32 array, uploaded on first use; undefined for any other array. */
  async find(info: ValueInfo, data: HostArray | undefined): Promise<ort.Tensor | undefined> {
    if (!(data instanceof Float32Array) || !this.#constant.has(data)) return undefined;
    const known = this.#uploaded.get(data);
    if (known) return known;
    const key = info.shape.join();
    const uploader = this.#uploaders.get(key) ?? (await this.#uploader(info));
    this.#uploaders.set(key, uploader);
    const { device: tensor } = await uploader.run({
      host: new ort.Tensor('float32', data, info.shape),
    });
    if (!tensor) throw new Error('the upload returned nothing');
    this.#uploaded.set(data, tensor);
    return tensor;
  }

  #uploader({ shape }: ValueInfo): Promise<ort.InferenceSession> {
    const graph = new Graph();
    graph.output('device', graph.input('host', 'float32', shape));
    return this.#open(graph.build().model, { preferredOutputLocation: 'gpu-buffer' });
  }

  /** Tensors first: releasing a session whose tensors live ends the process. */
  async dispose(): Promise<void> {
    for (const tensor of this.#uploaded.values()) tensor.dispose();
    this.#uploaded.clear();
    for (const session of this.#uploaders.values()) await session.release();
    this.#uploaders.clear();
  }
}
