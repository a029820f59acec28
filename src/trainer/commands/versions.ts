/** Versions that a run records: with them it can be repeated bit for bit. */
import path from 'node:path';
import type { RunManifest } from '../../protocol/runFiles';
import { packageRoot } from '../training/modelPath';
import { runtimeVersion, versionIn } from '../training/runtimeVersion';

export async function versions(): Promise<RunManifest['versions']> {
  return {
    dota: await versionIn(path.join(packageRoot(), 'package.json')),
    node: process.versions.node,
    onnxruntime: await runtimeVersion(),
    platform: `${process.platform}-${process.arch}`,
  };
}
