/** What a device says about itself when it is probed. */
import { z } from 'zod';
import { DotaError } from '../../protocol/errors';
import type { DeviceKind } from '../ort/sessionOptions';

/** Errors below it are right: fp32 sums of 512 terms in any order stay far below; fp16 arithmetic does not. */
export const singleTolerance = 1e-4;
/**
 * The same of half precision, which has 2^-11 of relative rounding, and kernels that sum in it lose some more; a
 * wrong layout or type is off by the values' own size.
 */
export const halfTolerance = 0.05;

export const deviceProbe = z.object({
  /** fp32 rate of products of square matrices that lie on the device, as large as it does in moments, in GFLOP/s. */
  gflops: z.number().positive(),
  /** Largest deviation of fp32 results from fp64, relative to the largest entry. */
  error: z.number().min(0),
  /** The same in half precision, right or wrong; absent where the device has none (training doesn't need it). */
  halfError: z.number().min(0).optional(),
  /** The largest single buffer that worked, in MiB; 0 where it wasn't asked for. */
  bufferMb: z.number().min(0),
});
export type DeviceProbe = z.output<typeof deviceProbe>;

/** The error of a device whose fp32 results are off by `error`, relative to the largest entry. */
export function wrongNumbers(kind: DeviceKind, error: number): DotaError {
  return new DotaError(
    'device.unavailable',
    `The device "${kind}" computes wrong numbers in fp32 (relative error ${error.toExponential(1)}).`,
    { next: 'Update the driver, or set "device": "cpu".' },
  );
}
