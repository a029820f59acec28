// Runs a TypeScript script of this repository: bundles it with esbuild (packages stay external) and
// starts Node on the result. Usage: node scripts/run-ts.mjs scripts/sample/make.ts [arguments...]
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import path from 'node:path';

const [entry, ...args] = process.argv.slice(2);
if (entry === undefined) {
  console.error('Usage: node scripts/run-ts.mjs <script.ts> [arguments...]');
  process.exit(64);
}
const name = path.basename(entry, '.ts');
const bundle = path.resolve(`.cache/scripts/${name}.mjs`);
// The same script may be started twice at once: neither must read what the other is still writing.
const written = path.resolve(`.cache/scripts/${name}.${process.pid}.mjs`);
await build({
  entryPoints: [entry],
  outfile: written,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  packages: 'external',
  sourcemap: 'inline',
  logLevel: 'warning',
});
renameSync(written, bundle);
const run = spawnSync(process.execPath, ['--enable-source-maps', bundle, ...args], {
  stdio: 'inherit',
});
process.exit(run.status ?? 1);
