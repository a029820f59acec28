/** From a pretraining run's checkpoint to the model folder that is committed. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fromFloat32, toFloat32 } from '../../src/models/dtype';
import { SafetensorsFile } from '../../src/models/safetensors/reader';
import { writeSafetensors, type TensorToWrite } from '../../src/models/safetensors/writer';
import { modelFile } from '../../src/trainer/training/checkpointFiles';

/** The last checkpoint of a run folder. */
export function lastCheckpoint(runFolder: string): string {
  const steps = readdirSync(path.join(runFolder, 'checkpoints'))
    .map((name) => /^step-(\d+)$/.exec(name)?.[1])
    .filter((step) => step !== undefined)
    .map(Number);
  if (steps.length === 0) throw new Error(`${runFolder}: no checkpoint.`);
  return path.join(runFolder, 'checkpoints', `step-${String(Math.max(...steps))}`);
}

/** Rounds all weights to bf16 and writes them under their Hugging Face names. */
export async function exportModel(checkpoint: string, modelFolder: string): Promise<void> {
  const source = await SafetensorsFile.open(path.join(checkpoint, modelFile));
  try {
    const tensors: TensorToWrite[] = [];
    for (const name of source.names) {
      const tensor = await source.read(name);
      tensors.push({
        name,
        dtype: 'BF16',
        shape: tensor.shape,
        data: fromFloat32('BF16', toFloat32(tensor, name)),
      });
    }
    const file = path.join(modelFolder, 'model.safetensors');
    await writeSafetensors(file, tensors, { format: 'pt' });
  } finally {
    await source.close();
  }
}
