/** Writes a run folder as a trainer would have left it, with a made-up but plausible curve. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { runConfigSchema } from '../../src/config/runConfig';
import type { JournalRow, RunManifest } from '../../src/protocol/runFiles';

export interface SyntheticRun {
  id: string;
  steps: number;
  state?: RunManifest['state'];
  manifest?: Partial<RunManifest>;
  /** Rows after those of the curve. */
  extraRows?: readonly (Record<string, unknown> & { kind: string })[];
  log?: string;
}

/** Loss falls like a power law with a ripple: smooth enough to read, rough enough to look real. */
export function syntheticLoss(step: number, seed = 0): number {
  const ripple = Math.sin(step * 1.7 + seed) * 0.06 + Math.sin(step * 0.37 + seed * 3) * 0.05;
  return 0.35 + 3 / (1 + step / 25) ** 0.9 + ripple;
}

export function stepRow(seq: number, step: number, total: number, seed = 0): JournalRow {
  return {
    kind: 'step',
    seq,
    step,
    epoch: (3 * step) / total,
    loss: syntheticLoss(step, seed),
    learningRate: 1e-3 * 0.5 * (1 + Math.cos((Math.PI * step) / total)),
    gradNorm: 0.8 + 0.3 * Math.sin(step / 7 + seed),
    tokens: step * 1024,
    tokensPerSecond: 5200 + 300 * Math.sin(step / 11),
    rssMb: 340 + Math.min(40, step / 10),
    elapsed: step * 0.2,
  };
}

/** @returns the run folder */
export function writeSyntheticRun(root: string, run: SyntheticRun): string {
  const folder = path.join(root, run.id);
  mkdirSync(path.join(folder, 'checkpoints'), { recursive: true });
  const seed = run.id.length + run.steps;
  const rows: object[] = [];
  let seq = 0;
  for (let step = 1; step <= run.steps; step++) {
    rows.push(stepRow(seq++, step, run.steps, seed));
    if (step % Math.max(1, Math.floor(run.steps / 6)) === 0) {
      rows.push({
        kind: 'eval',
        seq: seq++,
        step,
        loss: syntheticLoss(step, seed) + 0.05,
        tokens: step * 1024,
        elapsed: step * 0.2,
      });
    }
  }
  for (const row of run.extraRows ?? []) rows.push({ seq: seq++, ...row });
  writeFileSync(
    path.join(folder, 'metrics.jsonl'),
    rows.map((row) => `${JSON.stringify(row)}\n`).join(''),
  );
  const manifest: RunManifest = {
    formatVersion: 1,
    id: run.id,
    name: `sample, arithmetic, ${run.id}`,
    state: run.state ?? 'finished',
    createdAt: '2026-01-02T03:04:05.000Z',
    startedAt: '2026-01-02T03:04:06.000Z',
    config: runConfigSchema.parse({
      data: { train: 'data/train.json' },
      training: { learning_rate: 0.005 },
    }),
    configDirectory: path.dirname(path.dirname(root)),
    versions: { dota: '0.1.0', node: '20.20.2', onnxruntime: '1.30.0', platform: 'linux-x64' },
    device: { kind: 'cpu', name: 'CPU', threads: 2 },
    model: { architecture: 'llama', parameters: 1_400_000 },
    trainable: { parameters: 46_080, fraction: 0.033 },
    progress: { step: run.steps, totalSteps: run.steps, epoch: 3, tokens: run.steps * 1024 },
    best: { step: run.steps, validationLoss: syntheticLoss(run.steps, seed) + 0.05 },
    ...run.manifest,
  };
  writeFileSync(path.join(folder, 'run.json'), JSON.stringify(manifest, null, 2));
  writeFileSync(path.join(folder, 'log.txt'), run.log ?? 'Started.\nFinished.\n');
  return folder;
}
