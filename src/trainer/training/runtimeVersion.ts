/** The version of onnxruntime, found without loading it: the native library is the worker's. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

/** `missing` where the package isn't there, `unknown` where it doesn't say. */
export async function runtimeVersion(): Promise<string> {
  try {
    const entry = createRequire(__filename).resolve('onnxruntime-node');
    return await versionIn(path.resolve(path.dirname(entry), '..', 'package.json'));
  } catch {
    return 'missing';
  }
}

export async function versionIn(file: string): Promise<string> {
  try {
    const { version } = JSON.parse(await readFile(file, 'utf8')) as { version?: unknown };
    return typeof version === 'string' ? version : 'unknown';
  } catch {
    return 'unknown';
  }
}
