/** What a device says about itself when it is probed. */
import { z } from 'zod';

export const deviceProbe = z.object({
  /** fp32 rate of a product of two 512 x 512 matrices, in GFLOP/s. */
  gflops: z.number().positive(),
  /** Largest deviation of fp32 results from fp64, relative to the largest entry. */
  error: z.number().min(0),
  /** The same in half precision; absent where the device has none (training doesn't need it). */
  halfError: z.number().min(0).optional(),
  /** The largest single buffer that worked, in MiB; 0 where it wasn't asked for. */
  bufferMb: z.number().min(0),
});
export type DeviceProbe = z.output<typeof deviceProbe>;
