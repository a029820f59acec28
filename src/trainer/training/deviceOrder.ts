/**
 * Which devices a run may take on a platform, best first, and why others are not among them. Read from the
 * binaries that onnxruntime-node 1.30 ships: a platform that is not in the table has none.
 */
import { DotaError } from '../../protocol/errors';
import type { DeviceKind } from './probeDevices';

/** A device or a provider of the runtime that no run takes. */
export interface LeftOut {
  /** The runtime's name of the provider. */
  device: DeviceKind | 'cuda' | 'dml' | 'coreml';
  /** A sentence. */
  why: string;
}

export interface DeviceOrder {
  /** `linux-x64`, as packages are named. */
  platform: string;
  /** Best first, the processor last; empty where the runtime has no build. */
  order: readonly DeviceKind[];
  leftOut: readonly LeftOut[];
}

/** The runtime's version that the table was read from. */
const runtime = 'onnxruntime 1.30';
const gpuFirst = ['webgpu', 'cpu'] as const;

const missing = (device: LeftOut['device'], platform: string): LeftOut => ({
  device,
  why: `${runtime} has no ${providerNames[device]} provider for ${platform}.`,
});
const providerNames: Readonly<Record<LeftOut['device'], string>> = {
  cpu: 'CPU',
  webgpu: 'GPU',
  cuda: 'CUDA',
  dml: 'DirectML',
  coreml: 'Core ML',
};
const cuda: LeftOut = {
  device: 'cuda',
  why:
    'There is no CUDA path in this version: the runtime’s binding cannot keep tensors on a CUDA device, and its ' +
    'provider library is not part of this package (it would need CUDA 12 and cuDNN 9). An NVIDIA GPU trains ' +
    'through WebGPU, which needs the Vulkan part of its driver.',
};
const dml: LeftOut = {
  device: 'dml',
  why:
    'The runtime’s binding cannot keep tensors on a DirectML device, so each step would move all of them. ' +
    'The GPU trains through WebGPU on Direct3D 12.',
};
const coreml: LeftOut = {
  device: 'coreml',
  why: 'Core ML compiles models that do not change, for inference. The GPU trains through WebGPU on Metal.',
};

const table: Readonly<Record<string, Omit<DeviceOrder, 'platform'>>> = {
  'linux-x64': { order: gpuFirst, leftOut: [cuda] },
  'linux-arm64': {
    order: ['cpu'],
    leftOut: [missing('webgpu', 'linux-arm64'), missing('cuda', 'linux-arm64')],
  },
  'win32-x64': { order: gpuFirst, leftOut: [dml, missing('cuda', 'win32-x64')] },
  'win32-arm64': { order: gpuFirst, leftOut: [dml] },
  'darwin-arm64': { order: gpuFirst, leftOut: [coreml] },
};

export function deviceOrder(platform: NodeJS.Platform, arch: string): DeviceOrder {
  const name = `${platform}-${arch}`;
  const known = table[name] ?? {
    order: [],
    leftOut: [missing('cpu', name), missing('webgpu', name)],
  };
  return { platform: name, ...known };
}

/** The order of the machine that this process runs on. */
export function ownDeviceOrder(): DeviceOrder {
  return deviceOrder(process.platform, process.arch);
}

/** Why a device that a run asks for by its name is not to be had here; undefined where it is in the order. */
export function notInOrder(
  kind: DeviceKind,
  { platform, order, leftOut }: DeviceOrder,
): DotaError | undefined {
  if (order.includes(kind)) return undefined;
  if (order.length === 0) return noRuntime(platform);
  const why = leftOut.find(({ device }) => device === kind)?.why ?? '';
  return new DotaError('device.unavailable', why, {
    next: `Set "device" to "${order[0] ?? 'auto'}" or "auto".`,
  });
}

/**
 * The error of a process that the runtime has no binary for.
 * @param shipped platforms whose binaries are installed, where the runtime has one for this as well
 */
export function noRuntime(platform: string, shipped: readonly string[] = []): DotaError {
  if (table[platform] !== undefined) {
    const others = shipped.join(', ') || 'none';
    return new DotaError(
      'device.unavailable',
      `This Node.js is built for ${platform}, but the installed onnxruntime is not: its binaries are for ${others}.`,
      {
        next: `Use a Node.js that is built for ${others}, or install the package for ${platform}.`,
      },
    );
  }
  const intelMac = platform === 'darwin-x64';
  const name = intelMac ? 'Intel Macs (darwin-x64)' : platform;
  return new DotaError(
    'device.unavailable',
    `${runtime} has no build for ${name}, so this Node.js cannot train.`,
    {
      next: intelMac
        ? 'On a Mac with Apple silicon use a Node.js that is built for arm64; an Intel Mac has to leave ' +
          'training to another machine.'
        : `Train on one of ${Object.keys(table).join(', ')}.`,
    },
  );
}
