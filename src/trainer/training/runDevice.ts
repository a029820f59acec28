/** Whether a run fits the GPU that `auto` has chosen; where it does not, the processor takes its place. */
import type { RunConfig } from '../../config/runConfig';
import { DotaError } from '../../protocol/errors';
import type { RunEstimate } from './estimateRun';
import type { DeviceKind } from './probeDevices';

/** The parts of a device that an estimate goes by. */
interface Taken {
  kind: DeviceKind;
  bufferBytes?: number | undefined;
}

/**
 * By `auto` a GPU is given up for the processor where a tensor of the model passes the GPU's largest buffer, or
 * where the run is estimated not to fit the GPU's memory but the machine's.
 * @param estimate of the run on a device
 * @param cpu the processor in the GPU's place, for this reason
 * @returns the device that the run takes, and the estimate on it
 * @throws DotaError of the estimate; `device.unavailable` where a GPU that was asked for by its name cannot hold
 *   a tensor of the model
 */
export async function deviceThatFits<D extends Taken>(
  { device: wanted }: Pick<RunConfig, 'device'>,
  chosen: D,
  estimate: (device: Taken) => Promise<RunEstimate>,
  cpu: (reason: string) => D,
): Promise<{ device: D; estimate: RunEstimate }> {
  const onProcessor = async (reason: string): Promise<{ device: D; estimate: RunEstimate }> => {
    const device = cpu(reason);
    return { device, estimate: await estimate(device) };
  };
  if (wanted !== 'auto' || chosen.kind === 'cpu') {
    return { device: chosen, estimate: await estimate(chosen) };
  }
  let onGpu: RunEstimate;
  try {
    onGpu = await estimate(chosen);
  } catch (error) {
    if (!(error instanceof DotaError) || error.code !== 'device.unavailable') throw error;
    return onProcessor(error.message);
  }
  if (!onGpu.fit.fits) {
    const other = await onProcessor(tooLarge(onGpu));
    if (other.estimate.fit.fits) return other;
  }
  return { device: chosen, estimate: onGpu };
}

function tooLarge({ manifest, availableBytes }: RunEstimate): string {
  const there =
    availableBytes === undefined ? '' : ` of ${Math.round(availableBytes / 2 ** 20)} MB there`;
  return `The run is estimated to need ${manifest.peakRssMb} MB of the GPU’s memory${there}, with a quarter to spare.`;
}
