// Runs one of the benchmarks in bench/. Usage: npm run bench -- <name> [--json] [options...]
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';

const [name, ...args] = process.argv.slice(2);
const file = `bench/${name}.ts`;
if (name === undefined || !existsSync(file)) {
  const names = readdirSync('bench').flatMap((n) => (n.endsWith('.ts') ? [n.slice(0, -3)] : []));
  console.error(`Usage: npm run bench -- <${names.sort().join(' | ')}> [--json] [options...]`);
  process.exit(64);
}
const run = spawnSync(process.execPath, ['scripts/run-ts.mjs', file, ...args], {
  stdio: 'inherit',
});
process.exit(run.status ?? 1);
