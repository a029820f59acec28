/** The device that a run would take, as far as earlier probes tell: no device is opened and none is probed. */
import type { RunConfig } from '../../config/runConfig';
import { type Ask, bufferBytes, decideDevice } from './chooseDevice';
import { type DeviceOrder, ownDeviceOrder } from './deviceOrder';
import { type DeviceKind, knownProbe, type ProbeAnswer } from './probeDevices';
import { runtimeVersion } from './runtimeVersion';
import { gpuFiles } from './vulkan';

export interface ExpectedDevice {
  kind: DeviceKind;
  /** Bytes of a GPU's largest buffer. */
  bufferBytes: number | undefined;
  /** False where the run will ask a device that has not answered on this driver yet. */
  asked: boolean;
}

/** An answer that is kept, or undefined. */
export type Known = (
  kind: DeviceKind,
  env: NodeJS.ProcessEnv,
) => Promise<(ProbeAnswer & { ok: true }) | undefined>;

const keptAnswer: Known = async (kind, env) => knownProbe(kind, await runtimeVersion(), env);

class NotAsked extends Error {}

/**
 * @param known replaced by tests
 * @param machine the order of devices on the platform, and whether there may be a GPU at all
 * @throws DotaError `device.unavailable` where the run would be refused for what is known
 */
export async function estimateDevice(
  config: Pick<RunConfig, 'device' | 'allow_software_gpu'>,
  known: Known = keptAnswer,
  machine: { order: DeviceOrder; mayHaveGpu: boolean } = {
    order: ownDeviceOrder(),
    // On Linux a GPU has a device file; elsewhere only a probe tells.
    mayHaveGpu: process.platform !== 'linux' || gpuFiles().length > 0,
  },
): Promise<ExpectedDevice> {
  const ask: Ask = async (kind, env) => {
    const answer = await known(kind, env);
    if (answer === undefined) throw new NotAsked();
    return answer;
  };
  try {
    const { gpu } = await decideDevice(config, ask, machine.order);
    if (gpu === undefined) return { kind: 'cpu', bufferBytes: undefined, asked: true };
    return { kind: 'webgpu', bufferBytes: bufferBytes(gpu), asked: true };
  } catch (error) {
    if (!(error instanceof NotAsked)) throw error;
    const named = config.device === 'webgpu';
    return {
      kind: named ? 'webgpu' : 'cpu',
      bufferBytes: undefined,
      asked: !named && !machine.mayHaveGpu,
    };
  }
}
