/** Writes a decoder of `test/fixtures/engine/decoders.json` as a model folder. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { writeSafetensors } from '../../../src/models/safetensors/writer';

export type FixtureWeights = Readonly<
  Record<string, { shape: readonly number[]; data: readonly number[] }>
>;

/** @param folder exists; gets `config.json` and `model.safetensors` */
export async function writeDecoderFixture(
  folder: string,
  config: object,
  weights: FixtureWeights,
): Promise<void> {
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(
    path.join(folder, 'model.safetensors'),
    Object.entries(weights).map(([name, { shape, data }]) => ({
      name,
      dtype: 'F32' as const,
      shape,
      // The fixture has whole numbers of 1 / 4096.
      data: Float32Array.from(data, (value) => value / 4096),
    })),
  );
}
