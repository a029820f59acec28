/** Where a configuration's `model` lies. */
import path from 'node:path';

/** Folder of the program's own files: `dist/trainer` lies two levels below it. */
export function packageRoot(): string {
  return path.resolve(__dirname, '..', '..');
}

/** The embedded sample's folder. */
export function sampleFolder(): string {
  return path.join(packageRoot(), 'media', 'sample');
}

/** @param directory what relative paths refer to */
export function resolveModel(model: string, directory: string): string {
  return model === 'sample' ? path.join(sampleFolder(), 'model') : path.resolve(directory, model);
}
