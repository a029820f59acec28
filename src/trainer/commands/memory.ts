/** `dota memory`: what training DoTA on a model takes, whatever the shapes and ranks will be. */
import { runConfigSchema } from '../../config/runConfig';
import { memoryModel } from '../../estimate/memoryModel';
import { DEFAULT_RESIDENT_LIMIT } from '../../estimate/residentLimit';
import { elementBytes } from '../../models/dtype';
import { loadModelFolder } from '../../models/modelFolder';
import type { TrainingMemory } from '../../protocol/explorerPanel';
import { finalNormName } from '../engine/parameterLayout';
import { resolveModel } from '../training/modelPath';
import { printJson, printLine } from './output';

/** At the defaults of a configuration. @throws DotaError of reading the model */
export async function trainingMemory(folder: string): Promise<TrainingMemory> {
  const { config, weights } = await loadModelFolder(folder);
  try {
    const { adapter, data, training } = runConfigSchema.parse({ data: { train: 'none' } });
    const dtype = weights.info(finalNormName)?.dtype ?? 'F32';
    return memoryModel({
      config,
      bytesPerWeight: elementBytes[dtype],
      adapter,
      batch: training.per_device_train_batch_size,
      sequence: data.max_length,
      accumulation: training.gradient_accumulation_steps,
      // "auto" keeps activations where they fit, which is what there is to show.
      recompute: training.gradient_checkpointing === true,
      residentLimit: DEFAULT_RESIDENT_LIMIT,
    });
  } finally {
    await weights.close();
  }
}

/** @throws DotaError of reading the model */
export async function runMemory(model: string, json: boolean): Promise<void> {
  const training = await trainingMemory(resolveModel(model, process.cwd()));
  if (json) {
    printJson({ training });
    return;
  }
  const mb = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  printLine(`at ${training.batch} x ${training.sequence} tokens, adapters from layer 0 on:`);
  printLine(`  model, activations, runtime  ${mb(training.fixedBytes[0] ?? 0)}`);
  printLine(`  a million matrix entries     ${mb(1e6 * training.bytesPerEntry)}, of the largest`);
  printLine(`  a million parameters         ${mb(1e6 * training.bytesPerParameter)}`);
}
