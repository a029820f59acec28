/**
 * `npm run bench -- load [--mb 512]`: reading a bf16 checkpoint into typed arrays against the speed
 * at which the page cache can be copied at all, in a process set up as the trainer's. Prints one JSON
 * object.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { SafetensorsFile } from '../src/models/safetensors/reader';
import { ensureComputeEnvironment } from '../src/trainer/child/childEnvironment';
import { writeSafetensors } from '../src/models/safetensors/writer';

await ensureComputeEnvironment();
const megabytes = Number(process.argv[process.argv.indexOf('--mb') + 1]) || 512;
const rounds = 5;
/** Of a 7B model's square matrices. */
const shape = [4096, 4096] as const;

const folder = mkdtempSync(path.join(os.tmpdir(), 'dota-bench-load-'));
try {
  const file = path.join(folder, 'model.safetensors');
  const elements = shape[0] * shape[1];
  const count = Math.max(1, Math.round((megabytes * 1e6) / (2 * elements)));
  const data = Uint16Array.from({ length: elements }, (_, i) => i & 0x3fff);
  await writeSafetensors(
    file,
    Array.from({ length: count }, (_, i) => ({
      name: `w${i}`,
      dtype: 'BF16' as const,
      shape,
      data,
    })),
  );
  const bytes = statSync(file).size;
  // In turns, so that a busy moment of the machine meets both; the first round warms the cache.
  const [copies, loads]: [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    const copied = copySeconds(file);
    const loaded = await loadSeconds(file);
    if (round === 0) continue;
    copies.push(copied);
    loads.push(loaded);
  }
  const [copy, load] = [Math.min(...copies), Math.min(...loads)];
  console.log(
    JSON.stringify({
      bench: 'load',
      megabytes: Math.round(bytes / 1e6),
      load_seconds: load,
      load_gb_per_s: bytes / load / 1e9,
      copy_limit_gb_per_s: bytes / copy / 1e9,
      share_of_limit: copy / load,
    }),
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The whole file into one buffer that is used again and again. */
function copySeconds(file: string): number {
  const buffer = new Uint8Array(16 * 1024 * 1024);
  const started = performance.now();
  const handle = openSync(file, 'r');
  while (readSync(handle, buffer, 0, buffer.length, null) > 0);
  closeSync(handle);
  return (performance.now() - started) / 1000;
}

/** Every tensor into an array of its own, as the trainer loads a block. */
async function loadSeconds(file: string): Promise<number> {
  const started = performance.now();
  const source = await SafetensorsFile.open(file);
  for (const name of source.names) await source.read(name);
  await source.close();
  return (performance.now() - started) / 1000;
}
