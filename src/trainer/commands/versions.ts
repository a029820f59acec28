/** Versions that a run records: with them it can be repeated bit for bit. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { RunManifest } from '../../protocol/runFiles';
import { packageRoot } from '../training/modelPath';

export async function versions(): Promise<RunManifest['versions']> {
  return {
    dota: await versionIn(path.join(packageRoot(), 'package.json')),
    node: process.versions.node,
    onnxruntime: await onnxruntimeVersion(),
    platform: `${process.platform}-${process.arch}`,
  };
}

async function onnxruntimeVersion(): Promise<string> {
  try {
    // Found without loading it: the native library is the worker's.
    const entry = createRequire(__filename).resolve('onnxruntime-node');
    return await versionIn(path.resolve(path.dirname(entry), '..', 'package.json'));
  } catch {
    return 'missing';
  }
}

async function versionIn(file: string): Promise<string> {
  try {
    const { version } = JSON.parse(await readFile(file, 'utf8')) as { version?: unknown };
    return typeof version === 'string' ? version : 'unknown';
  } catch {
    return 'unknown';
  }
}
