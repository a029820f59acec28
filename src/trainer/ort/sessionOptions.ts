/** How the runtime is set up on each kind of device. */
import path from 'node:path';
import type * as ort from 'onnxruntime-node';

let profiles = 0;

export type DeviceKind = 'cpu' | 'webgpu';

export interface DeviceOptions {
  kind: DeviceKind;
  /** Threads inside one operation; 0 lets the runtime choose. */
  threads: number;
  /** Bytes of the largest buffer of a GPU, where it was asked; no tensor may pass it. */
  bufferBytes?: number | undefined;
  /** Folder that the runtime writes a profile of each session to, named by the session's label. */
  profileFolder?: string;
}

/**
 * Measured: without the arena and with one operation at a time peak memory falls by 2 to 4 times at
 * equal speed (the child is started with glibc's malloc settings that keep freed pages); a memory
 * pattern asks for one large piece a run, which rarely fits where the last one was: without it a
 * step's peak fell from 0.6 to 0.9 GB, differing from run to run, to 0.5 GB always; parallel
 * execution is slower; on the CPU the runtime's extended optimisation lets products of many matrices read
 * transposed operands and cuts a parameter vector at once: a step takes 2 percent less time, its graphs 10 ms
 * more to compile; threads that spin without end starve an editor's machine, but a wait of up to
 * 50 microseconds between two operations makes a step 2 to 3 percent faster on a quiet machine and no
 * slower on one that two other processes keep busy.
 */
export function sessionOptions(
  { kind, threads, profileFolder }: DeviceOptions,
  label = 'other',
): ort.InferenceSession.SessionOptions {
  const common: ort.InferenceSession.SessionOptions = {
    graphOptimizationLevel: kind === 'cpu' ? 'extended' : 'basic',
    executionMode: 'sequential',
    interOpNumThreads: 1,
    enableCpuMemArena: false,
    enableMemPattern: false,
    ...(threads > 0 && { intraOpNumThreads: threads }),
    ...(profileFolder !== undefined && {
      enableProfiling: true,
      // The runtime's own file names are the same for all sessions of a second.
      profileFilePrefix: path.join(profileFolder, `${label}.${(profiles += 1)}`),
    }),
  };
  switch (kind) {
    case 'cpu':
      return {
        ...common,
        executionProviders: ['cpu'],
        extra: {
          session: { intra_op: { allow_spinning: '1', spin_duration_us: '50' } },
          // It would make an operator of float64 for which there is no kernel.
          optimization: { disable_specified_optimizers: 'QuickGeluFusion' },
        },
      };
    case 'webgpu':
      return {
        ...common,
        executionProviders: ['webgpu'],
        // A silent fall-back would move tensors to the host and back in the middle of a block.
        extra: { session: { disable_cpu_ep_fallback: '1', intra_op: { allow_spinning: '0' } } },
      };
  }
}
