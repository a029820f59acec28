/** What the runtime's complaints about a GPU mean for people. */
import { DotaError } from '../../protocol/errors';

/** Dawn and the drivers below it say it in these words. */
const outOfMemory = /out of memory|OUT_OF_(DEVICE|HOST)_MEMORY|failed to allocate|bad_alloc/i;
const lost = /device (was |is )?lost|DEVICE_LOST|device is destroyed/i;

/** The coded error for whatever opening or running a session on the GPU has thrown. */
export function deviceError(cause: unknown): DotaError {
  if (cause instanceof DotaError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  if (outOfMemory.test(reason)) {
    return new DotaError('device.outOfMemory', `The GPU's memory is exhausted: ${reason}`, {
      next:
        'Continue from the last checkpoint with a smaller micro-batch (the effective batch stays the ' +
        'same when gradient_accumulation_steps grows), or set training.gradient_checkpointing.',
      cause,
    });
  }
  if (lost.test(reason)) {
    return new DotaError('device.lost', `The GPU was lost (driver reset or sleep): ${reason}`, {
      next: 'Resume the run: it continues from its last checkpoint.',
      cause,
    });
  }
  return new DotaError('device.unavailable', `The WebGPU device cannot run this: ${reason}`, {
    next: 'Set "device": "cpu", or run `dota doctor`.',
    cause,
  });
}
