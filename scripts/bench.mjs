// Runs one of the benchmarks in bench/. Usage: npm run bench -- <name> [--json] [options...]
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const [name, ...args] = process.argv.slice(2);
const file = `bench/${name}.ts`;
if (name === undefined || !existsSync(file)) {
  console.error('Usage: npm run bench -- <step | ...> [--json] [options...]; see bench/.');
  process.exit(64);
}
const run = spawnSync(process.execPath, ['scripts/run-ts.mjs', file, ...args], {
  stdio: 'inherit',
});
process.exit(run.status ?? 1);
