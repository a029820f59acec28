/** Whether onnxruntime has a binary for the process that asks, found without loading it. */
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { DotaError } from '../../protocol/errors';
import { deviceOrder, noRuntime } from './deviceOrder';

/** Where the package lies; undefined where it is not installed. */
export function runtimeFolder(): string | undefined {
  try {
    const entry = createRequire(__filename).resolve('onnxruntime-node');
    return path.resolve(path.dirname(entry), '..');
  } catch {
    return undefined;
  }
}

/**
 * Why the library cannot be loaded: a platform it has no build for, or a package of another platform (a
 * Node.js for x64 on a machine with an ARM processor).
 * @param folder of the package; without one there is nothing to say
 */
export function runtimeProblem(
  { platform, arch }: { platform: NodeJS.Platform; arch: string } = process,
  folder: string | undefined = runtimeFolder(),
): DotaError | undefined {
  const { platform: name, order } = deviceOrder(platform, arch);
  if (order.length === 0) return noRuntime(name);
  if (folder === undefined) return undefined;
  const binaries = path.join(folder, 'bin', 'napi-v6');
  if (existsSync(path.join(binaries, platform, arch))) return undefined;
  return noRuntime(name, shipped(binaries));
}

/** For what starts processes that train. @throws DotaError `device.unavailable` */
export function requireRuntime(): void {
  const problem = runtimeProblem();
  if (problem !== undefined) throw problem;
}

function shipped(binaries: string): string[] {
  try {
    return readdirSync(binaries).flatMap((platform) =>
      readdirSync(path.join(binaries, platform)).map((arch) => `${platform}-${arch}`),
    );
  } catch {
    return [];
  }
}
