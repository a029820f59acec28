/** What `quantizedChild.ts` runs and reports. */
import type { DecoderConfig } from '../../../../src/models/modelConfig';
import { tinyConfig } from '../tiny';

/** k and v have 288 weights, which is no multiple of a block of 64. */
export const fourBitConfig: DecoderConfig = { ...tinyConfig, numLayers: 3 };

export interface FourBitRun {
  lossSum: number;
  gradient: number[];
  /** On the device before the first step; 0 on the CPU. */
  bytesAtRest: number;
  /** Most that a step had there beyond that. */
  bytesOfStep: number;
  /** Of dense matrices of the blocks on the host, alive at once. */
  densePeak: number;
  /** Dense matrices that lay on the device. */
  denseOnDevice: number;
  widenedByOneGraph: number;
  /** Of matrices that the checkpoint's reader has given and did not get back. */
  loadingPeak: number;
}
