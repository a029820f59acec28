/**
 * The arithmetic device: compiles graphs and runs them. This folder and its users in the trainer
 * are the only importers of onnxruntime-node.
 */
import * as ort from 'onnxruntime-node';
import type { BuiltGraph } from '../../graph/graph';
import type { ValueInfo } from '../../graph/onnx';
import { sizeOf } from '../../graph/shape';
import { DotaError } from '../../protocol/errors';
import { noteExternal } from './externalMemory';
import type { HostArray, HostArrays } from './hostArray';
import { ResidentTensors } from './residentTensors';

export type DeviceKind = 'cpu' | 'webgpu';

export interface DeviceOptions {
  kind: DeviceKind;
  /** Threads inside one operation; 0 lets the runtime choose. */
  threads: number;
}

/** A compiled graph. */
export interface Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /**
   * Runs the graph on this thread, blocking it.
   * @param feeds one array an input; more may be given than the graph has inputs
   * @param into buffers that outputs are written to; they may be the buffers of inputs where the
   *   graph is elementwise in them
   */
  run(feeds: HostArrays, into?: HostArrays): Promise<Record<string, HostArray>>;
  release(): Promise<void>;
}

export interface Device {
  readonly kind: DeviceKind;
  compile(graph: BuiltGraph): Promise<Session>;
  /** Promises that arrays never change again, so that the device may keep copies of its own. */
  pin(arrays: readonly HostArray[]): void;
  /** Frees the copies; sessions are released by whoever compiled them, before. */
  dispose(): Promise<void>;
}

/**
 * Measured: without the arena and with one operation at a time peak memory falls by 2 to 4 times at
 * equal speed (the child is started with glibc's malloc settings that keep freed pages); parallel
 * execution is slower; spinning threads starve an editor's machine; the graph comes optimised, so
 * the higher levels only cost compile time.
 */
function sessionOptions({ kind, threads }: DeviceOptions): ort.InferenceSession.SessionOptions {
  const common: ort.InferenceSession.SessionOptions = {
    graphOptimizationLevel: 'basic',
    executionMode: 'sequential',
    interOpNumThreads: 1,
    enableCpuMemArena: false,
    ...(threads > 0 && { intraOpNumThreads: threads }),
  };
  switch (kind) {
    case 'cpu':
      return {
        ...common,
        executionProviders: ['cpu'],
        extra: { session: { intra_op: { allow_spinning: '0' } } },
      };
    case 'webgpu':
      return {
        ...common,
        executionProviders: ['webgpu'],
        // A silent fall-back would move tensors to the host and back in the middle of a block.
        extra: { session: { disable_cpu_ep_fallback: '1', intra_op: { allow_spinning: '0' } } },
      };
  }
}

class OrtSession implements Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly #session: ort.InferenceSession;
  readonly #resident: ResidentTensors | undefined;

  constructor(
    session: ort.InferenceSession,
    graph: BuiltGraph,
    resident: ResidentTensors | undefined,
  ) {
    this.#session = session;
    this.#resident = resident;
    this.inputs = graph.inputs;
    this.outputs = graph.outputs;
  }

  async run(feeds: HostArrays, into: HostArrays = {}): Promise<Record<string, HostArray>> {
    const inputs: Record<string, ort.Tensor> = {};
    for (const info of this.inputs) {
      const data = feeds[info.name];
      inputs[info.name] = (await this.#resident?.find(info, data)) ?? toTensor(info, data);
    }
    const fetches: Record<string, ort.Tensor | null> = {};
    for (const info of this.outputs) {
      const target = into[info.name];
      fetches[info.name] = target ? toTensor(info, target) : null;
    }
    const results = await this.#session.run(inputs, fetches);
    for (const tensor of Object.values(results))
      noteExternal((tensor.data as HostArray).byteLength);
    // The binding returns a copy beside the buffer it has written to; only the buffer counts.
    return Object.fromEntries(
      this.outputs.map(({ name }) => [
        name,
        into[name] ?? ((results[name] as ort.Tensor).data as HostArray),
      ]),
    );
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

function toTensor(info: ValueInfo, data: HostArray | undefined): ort.Tensor {
  if (data?.length !== sizeOf(info.shape)) {
    throw new Error(
      `"${info.name}" needs ${sizeOf(info.shape)} elements, got ${data?.length ?? 'none'}`,
    );
  }
  switch (info.dtype) {
    case 'float32':
    case 'float64':
    case 'int32':
      return new ort.Tensor(info.dtype, data as Float32Array, info.shape);
    case 'int64':
    case 'bool':
      throw new Error(`"${info.name}": ${info.dtype} doesn't cross a graph's boundary`);
  }
}

export function openDevice(options: DeviceOptions): Device {
  const open = async (
    model: Uint8Array,
    extra: ort.InferenceSession.SessionOptions = {},
  ): Promise<ort.InferenceSession> => {
    try {
      return await ort.InferenceSession.create(model, { ...sessionOptions(options), ...extra });
    } catch (cause) {
      if (options.kind === 'cpu') throw cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new DotaError('device.unavailable', `The WebGPU device cannot run this: ${reason}`, {
        next: 'Set "device": "cpu", or run `dota doctor`.',
        cause,
      });
    }
  };
  // The CPU reads the host's arrays in place.
  const resident = options.kind === 'webgpu' ? new ResidentTensors(open) : undefined;
  return {
    kind: options.kind,
    compile: async (graph) => new OrtSession(await open(graph.model), graph, resident),
    pin: (arrays) => resident?.pin(arrays),
    dispose: async () => resident?.dispose(),
  };
}
