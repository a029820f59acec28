// Runs a TypeScript script of this repository: bundles it with esbuild (packages stay external) and
// starts Node on the result. Usage: node scripts/run-ts.mjs scripts/sample/make.ts [arguments...]
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const [entry, ...args] = process.argv.slice(2);
if (entry === undefined) {
  console.error('Usage: node scripts/run-ts.mjs <script.ts> [arguments...]');
  process.exit(64);
}
const name = path.basename(entry, '.ts');
const outfile = path.resolve(`.cache/scripts/${name}.mjs`);
await build({
  entryPoints: [entry],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  packages: 'external',
  sourcemap: 'inline',
  logLevel: 'warning',
});
const run = spawnSync(process.execPath, ['--enable-source-maps', outfile, ...args], {
  stdio: 'inherit',
});
process.exit(run.status ?? 1);
