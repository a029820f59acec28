/** Which device a run uses, by asking the devices in a process of their own. */
import os from 'node:os';
import type { RunConfig } from '../../config/runConfig';
import { DotaError } from '../../protocol/errors';
import { type DeviceOrder, noRuntime, notInOrder, ownDeviceOrder } from './deviceOrder';
import { gpuStates } from './gpuMemory';
import { type DeviceKind, type ProbeAnswer, probeCached } from './probeDevices';
import { runtimeVersion } from './runtimeVersion';
import { hardwareDrivers } from './vulkan';

export interface ChosenDevice {
  kind: DeviceKind;
  name: string;
  /** Bytes of a GPU's largest buffer. */
  bufferBytes?: number | undefined;
  /** Why this one, for people: where it is the processor by `auto`, what spoke against the GPU. Whole sentences. */
  reason: string;
}

/** What a device of this machine says when it is probed. @param env that the run will have as well */
export type Ask = (kind: DeviceKind, env: NodeJS.ProcessEnv) => Promise<ProbeAnswer>;

/**
 * Asks this machine's devices, and keeps what they say.
 * @param onProbe told before a device that has not answered on this driver yet is opened, which can take a minute
 */
export function askDevices(onProbe?: (kind: DeviceKind) => void): Ask {
  return async (kind, env) =>
    probeCached(kind, await runtimeVersion(), {
      env,
      onProbe: () => {
        onProbe?.(kind);
      },
    });
}

type Wanted = Pick<RunConfig, 'device' | 'allow_software_gpu'> & {
  training?: Pick<RunConfig['training'], 'optim'>;
};

/** Why no GPU can compute what is configured, whatever it says; undefined where one may. */
function onCpuOnly({ training }: Wanted): string | undefined {
  return training?.optim === 'adamw_8bit'
    ? 'The 8-bit optimizer computes on the CPU only.'
    : undefined;
}

/** The environment in which a device is asked and opened: software GPUs are left out of it where not allowed. */
export function driversFor(
  { allow_software_gpu: software }: Pick<RunConfig, 'allow_software_gpu'>,
  env: NodeJS.ProcessEnv = process.env,
): NodeJS.ProcessEnv {
  return software ? env : hardwareDrivers(env);
}

/**
 * Where a GPU is taken, this process has the drivers' variables of `driversFor` afterwards.
 * @param ask what devices say; `askDevices` with a listener, or a test's
 * @param machine the order of devices on the platform
 * @throws DotaError `device.unavailable` where the device asked for cannot be used, or is a software
 *   GPU that was not allowed
 */
export async function chooseDevice(
  config: Wanted,
  ask: Ask = askDevices(),
  machine: DeviceOrder = ownDeviceOrder(),
): Promise<ChosenDevice> {
  const { gpu, reason } = await decideDevice(config, ask, machine);
  // The GPU is opened in this process, with the drivers that were asked.
  if (gpu !== undefined) Object.assign(process.env, driversFor(config));
  return gpu === undefined ? cpu(reason) : webgpu(gpu, reason);
}

type Good = ProbeAnswer & { ok: true };

export interface Decision {
  /** What the GPU says that is taken; undefined for the processor. */
  gpu: Good | undefined;
  /** As of `ChosenDevice`. */
  reason: string;
}

/**
 * The decision of `chooseDevice`, without looking for names.
 * @throws DotaError `device.unavailable` as `chooseDevice`
 */
export async function decideDevice(
  config: Wanted,
  ask: Ask,
  machine: DeviceOrder,
): Promise<Decision> {
  switch (config.device) {
    case 'cpu':
      refuseOutside('cpu', machine);
      return { gpu: undefined, reason: 'The configuration asks for the CPU.' };
    case 'webgpu': {
      refuseOutside('webgpu', machine);
      const gpu = await ask('webgpu', driversFor(config));
      if (!gpu.ok) throw DotaError.from(gpu.error);
      const refused = refusedSoftware(gpu, config);
      if (refused) throw refused;
      return { gpu, reason: 'The configuration asks for the GPU.' };
    }
    case 'auto':
      return firstInOrder(config, ask, machine);
  }
}

/**
 * The first that passes its check and is faster than the next. The last, which is the processor, is taken
 * unasked: there is nothing to take in its place, and what is wrong with it shows when it is opened.
 */
async function firstInOrder(config: Wanted, ask: Ask, machine: DeviceOrder): Promise<Decision> {
  const { order, platform } = machine;
  if (order.length === 0) throw noRuntime(platform);
  const never = onCpuOnly(config);
  if (never !== undefined && order.includes('cpu')) return { gpu: undefined, reason: never };
  // What spoke against each that was passed over.
  const reasons: string[] = [];
  const env = driversFor(config);
  for (const [i, kind] of order.slice(0, -1).entries()) {
    const answer = await ask(kind, env);
    const problem = answer.ok ? refusedSoftware(answer, config)?.message : answer.error.message;
    if (!answer.ok || problem !== undefined) {
      reasons.push(problem ?? '');
      continue;
    }
    const next = await ask(order[i + 1] as DeviceKind, env);
    if (!next.ok) return { gpu: answer, reason: `The GPU was asked first. ${next.error.message}` };
    const faster = answer.gflops > next.gflops;
    const reason = comparison(answer, next, faster);
    if (faster) return { gpu: answer, reason };
    reasons.push(reason);
  }
  const reason = reasons.join(' ') || notInOrder('webgpu', machine)?.message;
  return { gpu: undefined, reason: reason ?? 'There is no other device.' };
}

function comparison(gpu: Good, cpu: Good, faster: boolean): string {
  const rate = ({ gflops }: Good): string => gflops.toPrecision(gflops < 100 ? 2 : 3);
  return `The GPU is ${faster ? '' : 'not '}faster: it computes ${rate(gpu)} GFLOP/s, the CPU ${rate(cpu)}.`;
}

/** @throws DotaError `device.unavailable` */
function refuseOutside(kind: DeviceKind, machine: DeviceOrder): void {
  const problem = notInOrder(kind, machine);
  if (problem) throw problem;
}

/** A software GPU computes on the processor, only slower. */
function refusedSoftware(gpu: Good, config: Wanted): DotaError | undefined {
  if (!gpu.software || config.allow_software_gpu) return undefined;
  return new DotaError(
    'device.unavailable',
    'The only WebGPU adapter here is software, which is slower than the processor.',
    { next: 'Set "device": "cpu", or "allow_software_gpu": true for a test.' },
  );
}

/** The processor, and why it is taken. */
export function cpu(reason: string): ChosenDevice {
  return { kind: 'cpu', name: os.cpus()[0]?.model.trim() ?? 'CPU', reason };
}

async function webgpu(gpu: Good, reason: string): Promise<ChosenDevice> {
  return { kind: 'webgpu', name: await gpuName(gpu), bufferBytes: bufferBytes(gpu), reason };
}

/** Undefined where the largest buffer was not asked for. */
export function bufferBytes({ bufferMb }: Pick<Good, 'bufferMb'>): number | undefined {
  return bufferMb * 2 ** 20 || undefined;
}

async function gpuName(gpu: Good): Promise<string> {
  if (gpu.software) return 'WebGPU (software)';
  const [state] = await gpuStates();
  return state === undefined ? 'WebGPU' : `WebGPU (${state.name})`;
}
