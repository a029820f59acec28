/** `npm run bench -- journal`: how long a run of 1,000,000 steps takes to open. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { JournalReader } from '../src/runs/journalReader';
import { JournalWriter } from '../src/runs/journalWriter';

const ROUNDS = 5;
const LIMIT_SECONDS = 2;

const folder = mkdtempSync(path.join(os.tmpdir(), 'dota-journal-'));
const file = path.join(folder, 'metrics.jsonl');

async function main(): Promise<void> {
  const writer = new JournalWriter(file);
  for (let n = 1; n <= 1000; n++) {
    writer.append({
      kind: 'step',
      step: n,
      epoch: n / 977,
      loss: Math.sin(n) + 2,
      learningRate: 1e-3 / n,
      gradNorm: Math.cos(n) + 1.5,
      tokens: n * 1937,
      tokensPerSecond: 4000 / n,
      rssMb: 312.5,
      elapsed: n * 0.317,
    });
  }
  writer.close();
  writeFileSync(file, readFileSync(file, 'utf8').repeat(1000));
  const seconds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const reader = new JournalReader(file);
    const start = performance.now();
    await reader.read();
    seconds.push((performance.now() - start) / 1000);
  }
  const median = seconds.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? NaN;
  console.log(
    JSON.stringify({
      rows: 1_000_000,
      replay_seconds: Number(median.toFixed(2)),
      replay_seconds_best: Number((seconds[0] ?? NaN).toFixed(2)),
      share_of_limit: Number((median / LIMIT_SECONDS).toFixed(2)),
    }),
  );
}

void main().finally(() => {
  rmSync(folder, { recursive: true, force: true });
});
