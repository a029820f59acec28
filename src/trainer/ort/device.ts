/**
 * The arithmetic device: compiles graphs and runs them. This folder and its users in the trainer
 * are the only importers of onnxruntime-node.
 */
import './noTelemetry';
import './binaryThere';
import * as ort from 'onnxruntime-node';
import type { DType } from '../../graph/dtype';
import type { BuiltGraph } from '../../graph/graph';
import type { ValueInfo } from '../../graph/onnx';
import { type Shape, sizeOf } from '../../graph/shape';
import { checkBuffers } from './bufferLimit';
import { deviceError, memoryError } from './deviceErrors';
import { type DeviceMemory, DeviceTensor, DeviceTensors, type Producer } from './deviceTensors';
import { HostResults } from './hostResults';
import { runInPlace, unfilled, withNoTensor } from './inPlace';
import { type DeviceOptions, sessionOptions } from './sessionOptions';
import type { HostArray, Slots, Value, Values } from './values';

/** A compiled graph. */
export interface Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /**
   * Runs the graph on this thread, blocking it.
   * @param feeds one value an input; more may be given than the graph has inputs
   * @param into places of outputs that replace an earlier value; on the CPU they may be the places
   *   of inputs where the graph is elementwise in them
   */
  run(feeds: Values, into?: Slots): Promise<Record<string, Value>>;
  release(): Promise<void>;
}

export interface CompileOptions {
  /** Outputs that come back to the host; all others stay on the device. */
  host?: readonly string[];
  /** What the graph is for, in a profile: one word. */
  label?: string;
}

export interface Device {
  readonly kind: DeviceOptions['kind'];
  /** Bytes of the largest tensor that it can hold; undefined where there is no limit, or none known. */
  readonly bufferBytes: number | undefined;
  /** @throws DotaError `device.outOfMemory`, `device.unavailable` for a tensor beyond that */
  compile(graph: BuiltGraph, options?: CompileOptions): Promise<Session>;
  /** Puts an array on the device, where it stays until it is freed; on the CPU it is the array. */
  upload(data: HostArray, dtype: DType, shape: Shape): Promise<Value>;
  read(value: Value): Promise<HostArray>;
  /** Frees values before their scope ends. */
  free(values: Iterable<Value>): Promise<void>;
  /** Leaves a result of the scope at hand to the caller, who frees it. */
  keep(value: Value): void;
  /**
   * Puts results aside that are not needed for a while.
   * @returns what gives them back, once, in arrays of their own: those that were put aside are not to be used
   */
  setAside(values: Values): () => Values;
  /** Frees at the end whatever runs inside of `work` have left on the device outside of slots. */
  scope<T>(work: () => Promise<T>): Promise<T>;
  /** Tensors on the device; nothing on the CPU, whose values are ordinary arrays. */
  memory(): DeviceMemory;
  /** Frees all values; sessions are released by whoever compiled them, before. */
  dispose(): Promise<void>;
}

export function openDevice(options: DeviceOptions): Device {
  switch (options.kind) {
    case 'cpu':
      return new CpuDevice(options);
    case 'webgpu':
      return new WebGpuDevice(options);
  }
}

class CpuDevice implements Device {
  readonly kind = 'cpu';
  readonly bufferBytes = undefined;
  readonly #options: DeviceOptions;
  readonly #results = new HostResults();

  constructor(options: DeviceOptions) {
    this.#options = options;
  }

  async compile(graph: BuiltGraph, { host = [], label }: CompileOptions = {}): Promise<Session> {
    const options = sessionOptions(this.#options, label);
    const model = withNoTensor(graph.model);
    const session = await explained(ort.InferenceSession.create(model, options));
    return new CpuSession(session, graph, this.#results, host);
  }

  upload(data: HostArray): Promise<Value> {
    return Promise.resolve(data);
  }

  read(value: Value): Promise<HostArray> {
    return Promise.resolve(value as HostArray);
  }

  free(values: Iterable<Value>): Promise<void> {
    for (const value of values) this.#results.free(value as HostArray);
    return Promise.resolve();
  }

  keep(value: Value): void {
    this.#results.keep(value as HostArray);
  }

  setAside(values: Values): () => Values {
    return this.#results.setAside(values);
  }

  scope<T>(work: () => Promise<T>): Promise<T> {
    return this.#results.scope(work);
  }

  memory(): DeviceMemory {
    return { tensors: 0, bytes: 0, peakBytes: 0 };
  }

  dispose(): Promise<void> {
    return Promise.resolve();
  }
}

class CpuSession implements Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly #session: ort.InferenceSession;
  readonly #results: HostResults;
  readonly #host: readonly string[];

  constructor(
    session: ort.InferenceSession,
    graph: BuiltGraph,
    results: HostResults,
    host: readonly string[],
  ) {
    this.#session = session;
    this.#results = results;
    this.#host = host;
    this.inputs = graph.inputs;
    this.outputs = graph.outputs;
  }

  async run(feeds: Values, into: Slots = {}): Promise<Record<string, Value>> {
    const inputs: Record<string, ort.Tensor> = {};
    for (const info of this.inputs) inputs[info.name] = hostTensor(info, feeds[info.name]);
    const places: Record<string, ort.Tensor> = {};
    const values: Record<string, Value> = {};
    for (const info of this.outputs) {
      const value = into[info.name]?.value ?? unfilled(info.dtype, sizeOf(info.shape));
      places[info.name] = hostTensor(info, value);
      values[info.name] = value;
    }
    await explained(runInPlace(this.#session, inputs, places));
    for (const { name } of this.outputs) {
      if (into[name] || this.#host.includes(name)) continue;
      this.#results.adopt(values[name] as HostArray);
    }
    return values;
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** Only a lack of memory has a meaning for people; anything else on the CPU is a defect. */
async function explained<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw memoryError(cause) ?? cause;
  }
}

class WebGpuDevice implements Device {
  readonly kind = 'webgpu';
  readonly bufferBytes: number | undefined;
  readonly #options: DeviceOptions;
  readonly #tensors: DeviceTensors;

  constructor(options: DeviceOptions) {
    this.#options = options;
    this.bufferBytes = options.bufferBytes;
    this.#tensors = new DeviceTensors((model, extra) => this.#open(model, extra));
  }

  async #open(
    model: Uint8Array,
    extra: ort.InferenceSession.SessionOptions,
    label?: string,
  ): Promise<ort.InferenceSession> {
    try {
      return await ort.InferenceSession.create(model, {
        ...sessionOptions(this.#options, label),
        ...extra,
      });
    } catch (cause) {
      throw deviceError(cause);
    }
  }

  async compile(graph: BuiltGraph, { host = [], label }: CompileOptions = {}): Promise<Session> {
    if (this.bufferBytes !== undefined) checkBuffers(graph, this.bufferBytes);
    const preferredOutputLocation = Object.fromEntries(
      graph.outputs.map(({ name }) => [name, host.includes(name) ? 'cpu' : 'gpu-buffer'] as const),
    );
    const session = await this.#open(graph.model, { preferredOutputLocation }, label);
    return new WebGpuSession(this.#tensors.producer(session), graph, this.#tensors, host);
  }

  upload(data: HostArray, dtype: DType, shape: Shape): Promise<Value> {
    return this.#tensors.upload(data, dtype, shape);
  }

  read(value: Value): Promise<HostArray> {
    return value instanceof DeviceTensor ? this.#tensors.read(value) : Promise.resolve(value);
  }

  async free(values: Iterable<Value>): Promise<void> {
    for (const value of values) if (value instanceof DeviceTensor) await this.#tensors.free(value);
  }

  keep(value: Value): void {
    if (value instanceof DeviceTensor) this.#tensors.keep(value);
  }

  setAside(values: Values): () => Values {
    return () => values;
  }

  scope<T>(work: () => Promise<T>): Promise<T> {
    return this.#tensors.scope(work);
  }

  memory(): DeviceMemory {
    return this.#tensors.memory;
  }

  dispose(): Promise<void> {
    return this.#tensors.dispose();
  }
}

class WebGpuSession implements Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly #producer: Producer;
  readonly #tensors: DeviceTensors;
  readonly #host: readonly string[];
  #failed = false;

  constructor(
    producer: Producer,
    graph: BuiltGraph,
    tensors: DeviceTensors,
    host: readonly string[],
  ) {
    this.#producer = producer;
    this.#tensors = tensors;
    this.#host = host;
    this.inputs = graph.inputs;
    this.outputs = graph.outputs;
  }

  async run(feeds: Values, into: Slots = {}): Promise<Record<string, Value>> {
    if (this.#failed) throw new Error('a session that has failed cannot run again');
    const inputs: Record<string, ort.Tensor> = {};
    for (const info of this.inputs) {
      const value = feeds[info.name];
      inputs[info.name] =
        value instanceof DeviceTensor ? this.#tensors.tensorOf(value) : hostTensor(info, value);
    }
    let results: ort.InferenceSession.OnnxValueMapType;
    try {
      // All outputs, always: the runtime assigns places by position, so a subset would be mixed up.
      results = await this.#producer.session.run(inputs);
    } catch (cause) {
      this.#failed = true;
      throw deviceError(cause);
    }
    const values: Record<string, Value> = {};
    for (const { name, dtype, shape } of this.outputs) {
      const tensor = results[name] as ort.Tensor;
      if (this.#host.includes(name)) {
        values[name] = tensor.data as HostArray;
        continue;
      }
      const handle = this.#tensors.adopt(tensor, this.#producer, dtype, shape);
      values[name] = handle;
      const slot = into[name];
      if (!slot) continue;
      this.#tensors.keep(handle);
      const old = slot.value;
      slot.value = handle;
      if (old instanceof DeviceTensor) await this.#tensors.free(old);
    }
    return values;
  }

  release(): Promise<void> {
    return this.#producer.release();
  }
}

function hostTensor(info: ValueInfo, data: Value | undefined): ort.Tensor {
  if (data instanceof DeviceTensor || data?.length !== sizeOf(info.shape)) {
    const got = data instanceof DeviceTensor ? 'a device tensor' : (data?.length ?? 'none');
    throw new Error(`"${info.name}" needs ${sizeOf(info.shape)} elements, got ${got}`);
  }
  switch (info.dtype) {
    case 'float32':
    case 'float64':
    case 'int32':
    case 'uint8':
      return new ort.Tensor(info.dtype as 'float32', data as Float32Array, info.shape);
    case 'float16':
    case 'int64':
    case 'bool':
      throw new Error(`"${info.name}": ${info.dtype} doesn't cross a graph's boundary`);
  }
}
