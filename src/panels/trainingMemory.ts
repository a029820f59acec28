/** What training a model takes beside what the explorer's sliders decide. */
import { runConfigSchema } from '../config/runConfig';
import { elementBytes } from '../models/dtype';
import { DotaError } from '../protocol/errors';
import type { TrainingMemory } from '../protocol/explorerPanel';
import type { ModelEntry } from '../views/modelTree';

const finalNorm = 'model.norm.weight';

/**
 * At the defaults of a configuration, which its text will say; undefined for a model that cannot be
 * trained.
 */
export async function trainingMemory(model: ModelEntry): Promise<TrainingMemory | undefined> {
  const norm = model.tensors?.find((tensor) => tensor.name === finalNorm);
  if (model.decoder === undefined || norm === undefined) return undefined;
  // Loaded when first needed: the estimate is no part of activation.
  const { memoryModel } = await import('../estimate/memoryModel');
  const { DEFAULT_RESIDENT_LIMIT } = await import('../estimate/residentLimit');
  const { adapter, data, training } = runConfigSchema.parse({ data: { train: 'none' } });
  const bytes = Object.entries(elementBytes).find(([dtype]) => dtype === norm.dtype)?.[1];
  try {
    return memoryModel({
      config: model.decoder,
      bytesPerWeight: bytes ?? 2,
      adapter,
      batch: training.per_device_train_batch_size,
      sequence: data.max_length,
      accumulation: training.gradient_accumulation_steps,
      recompute: training.gradient_checkpointing,
      residentLimit: DEFAULT_RESIDENT_LIMIT,
    });
  } catch (error) {
    // A model that can be looked at but not trained is shown without the figure.
    if (error instanceof DotaError) return undefined;
    throw error;
  }
}
