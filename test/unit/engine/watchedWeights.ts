/**
 * Counts the dense fp32 matrices of the blocks that are alive, where they pass: at the reader of the
 * checkpoint and at the boundary of the device. Both do their real work.
 */
import { linearPaths, linearShape } from '../../../src/graph/decoder/block';
import { sizeOf } from '../../../src/graph/shape';
import type { DecoderConfig } from '../../../src/models/modelConfig';
import type { WeightReader } from '../../../src/trainer/engine/frozenWeights';
import type { CompileOptions, Device, Session } from '../../../src/trainer/ort/device';
import { DeviceTensor } from '../../../src/trainer/ort/deviceTensors';
import type { Slots, Value, Values } from '../../../src/trainer/ort/values';

/** Buffers that were seen; what nobody gave back counts as alive, whether or not it is garbage. */
class Buffers {
  readonly #seen = new Set<ArrayBufferLike>();
  peak = 0;

  see(array: ArrayBufferView): void {
    this.#seen.add(array.buffer);
    // A buffer that was given back has no length.
    const bytes = [...this.#seen].reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.peak = Math.max(this.peak, bytes);
  }
}

/** Bytes of a block's matrices as fp32. */
export function denseBlockBytes(config: DecoderConfig): number {
  return linearPaths.reduce((sum, path) => sum + 4 * sizeOf(linearShape(config, path)), 0);
}

/** A reader that hands out copies, and how many bytes of the blocks' matrices are out at once. */
export function watchedReader(
  config: DecoderConfig,
  weights: WeightReader,
): WeightReader & { buffers: Buffers } {
  const buffers = new Buffers();
  const names = new Set<string>(
    Array.from({ length: config.numLayers }, (_, layer) =>
      linearPaths.map((path) => `model.layers.${layer}.${path}.weight`),
    ).flat(),
  );
  return {
    names: weights.names,
    buffers,
    read: async (name) => {
      const tensor = await weights.read(name);
      const data = tensor.data.slice();
      if (names.has(name)) buffers.see(data);
      return { ...tensor, data };
    },
  };
}

export interface Watched {
  device: Device;
  /** Of dense matrices that went into graphs or came out of them, on the host. */
  buffers: Buffers;
  /** Dense matrices that lay on the device. */
  onDevice: () => number;
  /** Most fp32 bytes that one graph widens from 4-bit codes. */
  widenedByOneGraph: () => number;
}

/** @param config no other tensor of a step may have the shape of one of its matrices */
export function watchedDevice(config: DecoderConfig, device: Device): Watched {
  const shapes = new Set(linearPaths.map((path) => linearShape(config, path).join('x')));
  const buffers = new Buffers();
  const onDevice = new Set<DeviceTensor>();
  let widened = 0;
  const see = (value: Value | undefined, shape: readonly (number | string)[]): void => {
    if (!shapes.has(shape.join('x'))) return;
    if (value instanceof DeviceTensor) onDevice.add(value);
    else if (value instanceof Float32Array) buffers.see(value);
  };
  const watch = (session: Session): Session => {
    const codes = session.inputs.filter(({ name }) => name.endsWith('.codes'));
    widened = Math.max(
      widened,
      codes.reduce((sum, { shape }) => sum + 4 * 2 * sizeOf(shape), 0),
    );
    return {
      inputs: session.inputs,
      outputs: session.outputs,
      release: () => session.release(),
      run: async (feeds: Values, into?: Slots) => {
        for (const { name, shape } of session.inputs) see(feeds[name], shape);
        const results = await session.run(feeds, into);
        for (const { name, shape } of session.outputs) see(results[name], shape);
        return results;
      },
    };
  };
  return {
    buffers,
    onDevice: () => onDevice.size,
    widenedByOneGraph: () => widened,
    device: {
      kind: device.kind,
      bufferBytes: device.bufferBytes,
      compile: async (graph, options?: CompileOptions) =>
        watch(await device.compile(graph, options)),
      upload: (data, dtype, shape) => {
        if (shapes.has(shape.join('x')) && data instanceof Float32Array) buffers.see(data);
        return device.upload(data, dtype, shape);
      },
      read: (value) => device.read(value),
      free: (values) => device.free(values),
      keep: (value) => {
        device.keep(value);
      },
      setAside: (values) => device.setAside(values),
      scope: (work) => device.scope(work),
      memory: () => device.memory(),
      dispose: () => device.dispose(),
    },
  };
}
