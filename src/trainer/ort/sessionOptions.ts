/** How the runtime is set up on each kind of device. */
import type * as ort from 'onnxruntime-node';

export type DeviceKind = 'cpu' | 'webgpu';

export interface DeviceOptions {
  kind: DeviceKind;
  /** Threads inside one operation; 0 lets the runtime choose. */
  threads: number;
  /** Writes the runtime's profile to files that begin with this path (see ./profile). */
  profilePrefix?: string;
}

/**
 * Measured: without the arena and with one operation at a time peak memory falls by 2 to 4 times at
 * equal speed (the child is started with glibc's malloc settings that keep freed pages); parallel
 * execution is slower; spinning threads starve an editor's machine; the graph comes optimised, so
 * the higher levels only cost compile time.
 */
export function sessionOptions({
  kind,
  threads,
  profilePrefix,
}: DeviceOptions): ort.InferenceSession.SessionOptions {
  const common: ort.InferenceSession.SessionOptions = {
    graphOptimizationLevel: 'basic',
    executionMode: 'sequential',
    interOpNumThreads: 1,
    enableCpuMemArena: false,
    ...(threads > 0 && { intraOpNumThreads: threads }),
    ...(profilePrefix !== undefined && { enableProfiling: true, profileFilePrefix: profilePrefix }),
  };
  switch (kind) {
    case 'cpu':
      return {
        ...common,
        executionProviders: ['cpu'],
        extra: { session: { intra_op: { allow_spinning: '0' } } },
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
