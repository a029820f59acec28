import path from 'node:path';

/** Sources and bundles of the trainer both lie two folders below the package's root. */
export const packageRoot = path.resolve(__dirname, '../..');

/** The embedded sample model, its tokenizer and data; see scripts/sample. */
export const sampleFolder = path.join(packageRoot, 'media/sample');

/** The folder that a configuration's `model` names. */
export function resolveModelFolder(model: string, configDirectory: string): string {
  return model === 'sample'
    ? path.join(sampleFolder, 'model')
    : path.resolve(configDirectory, model);
}
