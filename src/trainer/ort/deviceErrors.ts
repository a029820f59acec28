/** What the runtime's and the drivers' complaints mean for people. */
import { DotaError } from '../../protocol/errors';
import { runtimeMessage } from './runtimeMessage';
import type { DeviceKind } from './sessionOptions';

/**
 * The C++ library, the runtime, Dawn, the drivers below it and V8 say it in these words. A buffer that
 * could not be allocated shows as one that is invalid "due to a previous error": the runtime asks for
 * buffers without looking at what it gets. Once one has failed it looks, and says what the limit is.
 */
const outOfMemory =
  /out of memory|OUT_OF_(DEVICE|HOST)_MEMORY|failed to allocate|bad_alloc|bad allocation|Array buffer allocation failed|Allocation size too large|exceeds the max buffer size limit|larger than the maximum storage buffer binding size|\[Invalid Buffer[^\]]*\] is invalid due to a previous error/i;
const lost = /\bdevice\b.{0,40}\b(lost|destroyed)\b|DEVICE_LOST|DeviceLost/i;

/** The coded error for whatever opening or running a session on the GPU has thrown. */
export function deviceError(cause: unknown): DotaError {
  if (cause instanceof DotaError) return cause;
  const known = lostError(cause) ?? memoryError(cause, 'webgpu');
  if (known) return known;
  return new DotaError(
    'device.unavailable',
    `The WebGPU device cannot run this: ${reasonOf(cause)}`,
    { next: 'Set "device": "cpu", or run `dota doctor`.', cause },
  );
}

function lostError(cause: unknown): DotaError | undefined {
  const reason = reasonOf(cause);
  if (!lost.test(reason)) return undefined;
  return new DotaError('device.lost', `The GPU was lost (driver reset or sleep): ${reason}`, {
    next: 'Resume the run: it continues from its last checkpoint.',
    cause,
  });
}

/**
 * The coded error where memory ran out, whoever noticed: the runtime, or an array that could not be
 * made.
 * @returns undefined for anything else
 */
export function memoryError(cause: unknown, kind: DeviceKind = 'cpu'): DotaError | undefined {
  if (cause instanceof DotaError) return undefined;
  const reason = reasonOf(cause);
  if (!outOfMemory.test(reason)) return undefined;
  const whose = kind === 'cpu' ? 'This machine’s' : 'The GPU’s';
  return new DotaError('device.outOfMemory', `${whose} memory is exhausted: ${reason}`, {
    next:
      'Compute fewer sequences at once (--micro-batch when a run is resumed, or ' +
      '"auto_find_batch_size": true), or set training.gradient_checkpointing to true.',
    cause,
  });
}

function reasonOf(cause: unknown): string {
  return runtimeMessage(cause instanceof Error ? cause.message : String(cause));
}
