/** `run.json`: read with suspicion (a cloned repository can ship one), replaced atomically. */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { DotaError, type ErrorCode } from '../protocol/errors';
import { runStates, type RunManifest } from '../protocol/runFiles';
import { runFileError, writeFileAtomic } from './atomicFile';
import type { RunFolder } from './runFolder';

const count = z.int().min(0);
const text = z.string().max(10_000);

// Fields a later version adds are dropped, so that an older program can still list the run.
const manifestSchema = z.object({
  formatVersion: z.literal(1),
  id: text,
  name: z.string().max(200),
  state: z.enum(runStates),
  createdAt: text,
  startedAt: text.optional(),
  endedAt: text.optional(),
  config: z.unknown(),
  configDirectory: text,
  fingerprint: z
    .object({
      baseWeights: text,
      tokenizer: text,
      trainData: text,
      validationData: text,
      dataPolicy: text,
      evaluationData: text.optional(),
    })
    .optional(),
  versions: z.object({ dota: text, node: text, onnxruntime: text, platform: text }),
  device: z
    .object({
      kind: z.enum(['cpu', 'webgpu']),
      name: text,
      threads: count,
      reason: text.optional(),
    })
    .optional(),
  model: z.object({ architecture: text, parameters: count }).optional(),
  trainable: z.object({ parameters: count, fraction: z.number() }).optional(),
  quantization: z
    .object({ relativeError: z.number(), plainRelativeError: z.number(), modules: count })
    .optional(),
  progress: z
    .object({ step: count, totalSteps: count, epoch: z.number(), tokens: count })
    .optional(),
  best: z.object({ step: count, validationLoss: z.number() }).optional(),
  last: z
    .object({ trainLoss: z.number().optional(), validationLoss: z.number().optional() })
    .optional(),
  evaluation: z
    .record(z.string(), z.object({ accuracy: z.number(), correct: count, total: count }))
    .optional(),
  timing: z.object({ seconds: z.number(), tokensPerSecond: z.number() }).optional(),
  peakRssMb: z.number().optional(),
  peakDeviceMb: z.number().optional(),
  microBatch: count.min(1).optional(),
  recompute: z.boolean().optional(),
  estimate: z.object({ peakRssMb: z.number(), secondsPerStep: z.number().optional() }).optional(),
  error: z
    .object({
      // Codes are only compared, never trusted; an unknown one is shown as it is.
      code: text.transform((code) => code as ErrorCode),
      message: text,
      where: text.optional(),
      next: text.optional(),
    })
    .optional(),
});

/**
 * Reads a run's manifest.
 * @throws DotaError `file.missing`, `file.unreadable`, `run.corrupt`
 */
export async function readManifest(folder: RunFolder): Promise<RunManifest> {
  let raw: unknown;
  try {
    raw = JSON.parse(await readFile(folder.manifest, 'utf8'));
  } catch (cause) {
    if (cause instanceof SyntaxError) throw corrupt(folder, 'it is not JSON', cause);
    throw runFileError(cause, folder.manifest);
  }
  const result = manifestSchema.safeParse(raw);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw corrupt(folder, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not understood'}`);
  }
  // The folder's name is the identity; what a copied or forged manifest claims is not.
  return { ...withoutUndefined(result.data), id: folder.id };
}

/** Replaces a run's manifest. @throws DotaError `file.diskFull`, `file.unreadable` */
export async function writeManifest(folder: RunFolder, manifest: RunManifest): Promise<void> {
  await writeFileAtomic(folder.manifest, `${JSON.stringify(manifest, undefined, 2)}\n`);
}

function corrupt(folder: RunFolder, why: string, cause?: unknown): DotaError {
  return new DotaError('run.corrupt', `The run's manifest cannot be used: ${why}.`, {
    where: folder.manifest,
    next: 'Delete the run, or restore the file from a copy.',
    cause,
  });
}

// zod leaves optional keys out, but types them `T | undefined`; the manifest's own type does not.
function withoutUndefined(parsed: z.output<typeof manifestSchema>): RunManifest {
  return JSON.parse(JSON.stringify(parsed)) as RunManifest;
}
