/** The version of onnxruntime, found without loading it: the native library is the worker's. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { runtimeFolder } from './runtimeBinary';

/** `missing` where the package isn't there, `unknown` where it doesn't say. */
export async function runtimeVersion(): Promise<string> {
  const folder = runtimeFolder();
  return folder === undefined ? 'missing' : versionIn(path.join(folder, 'package.json'));
}

export async function versionIn(file: string): Promise<string> {
  try {
    const { version } = JSON.parse(await readFile(file, 'utf8')) as { version?: unknown };
    return typeof version === 'string' ? version : 'unknown';
  } catch {
    return 'unknown';
  }
}
