// Runs benchmarks of bench/. Usage: npm run bench -- <name>[,<name>...] [--json] [options...]
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';

const [list = '', ...args] = process.argv.slice(2);
const names = list.split(',').filter((name) => name !== '');
if (names.length === 0 || !names.every((name) => existsSync(`bench/${name}.ts`))) {
  const all = readdirSync('bench').flatMap((n) => (n.endsWith('.ts') ? [n.slice(0, -3)] : []));
  console.error(`Usage: npm run bench -- <${all.sort().join(' | ')}>[,...] [--json] [options...]`);
  process.exit(64);
}
let failed = 0;
for (const name of names) {
  const run = spawnSync(process.execPath, ['scripts/run-ts.mjs', `bench/${name}.ts`, ...args], {
    stdio: 'inherit',
  });
  failed ||= run.status ?? 1;
}
process.exit(failed);
