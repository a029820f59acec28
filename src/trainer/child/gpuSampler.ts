/** Looks now and then at how much of the GPU's memory is in use. */
import { gpuStates } from '../training/gpuMemory';

/** The vendors' tools take a good part of a second of processor time. */
const sampleMs = 15_000;

export class GpuSampler {
  #timer: NodeJS.Timeout | undefined;
  #usedMb: number | undefined;

  /** What the driver said last; undefined before that, and where nobody counts. */
  get usedMb(): number | undefined {
    return this.#usedMb;
  }

  /** Samples until `stop`; once is enough. */
  start(): void {
    if (this.#timer !== undefined) return;
    const sample = async (): Promise<void> => {
      // Runs use the first GPU, as the runtime does.
      const [gpu] = await gpuStates().catch(() => []);
      if (gpu?.usedMb === undefined) this.stop();
      else this.#usedMb = gpu.usedMb;
    };
    this.#timer = setInterval(() => void sample(), sampleMs);
    this.#timer.unref();
    void sample();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
