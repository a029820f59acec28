/** Looks now and then at how much of the GPU's memory is in use. */
import { gpuStates, processUsedMb } from '../training/gpuMemory';

/** The vendors' tools take a good part of a second of processor time. */
const sampleMs = 15_000;
/** A tool that fails as often in a row is left alone: it may hang for its whole time each. */
const mostMissed = 3;

/**
 * MiB of this process where a tool has them; else what all processes have of the first GPU, which is the one that
 * the runtime takes. Undefined where nobody counts.
 */
export async function ownUseMb(pid = process.pid): Promise<number | undefined> {
  const own = await processUsedMb(pid);
  if (own !== undefined) return own;
  const [gpu] = await gpuStates();
  return gpu?.usedMb;
}

export class GpuSampler {
  readonly #ask: () => Promise<number | undefined>;
  #timer: NodeJS.Timeout | undefined;
  #usedMb: number | undefined;
  /** Samples without an answer since the last one. */
  #missed = 0;

  /** @param ask replaced by tests */
  constructor(ask: () => Promise<number | undefined> = ownUseMb) {
    this.#ask = ask;
  }

  /** What the driver said last; undefined before that, and where nobody counts. */
  get usedMb(): number | undefined {
    return this.#usedMb;
  }

  /** Samples until `stop`; once is enough. */
  start(): void {
    if (this.#timer !== undefined) return;
    const sample = async (): Promise<void> => {
      const usedMb = await this.#ask().catch(() => undefined);
      if (usedMb !== undefined) {
        this.#usedMb = usedMb;
        this.#missed = 0;
        return;
      }
      this.#missed++;
      // Where nobody has counted nobody will; a tool that fails between two answers gets another chance.
      if (this.#usedMb === undefined || this.#missed >= mostMissed) this.stop();
    };
    this.#timer = setInterval(() => void sample(), sampleMs);
    this.#timer.unref();
    void sample();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
