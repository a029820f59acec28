// The study on the sample model: makes its data and base models, carries it out (or goes on where an
// earlier start ended) and writes docs/study.md from what is on disk.
// Usage: npm run study [-- --quick | --preliminary] [--minutes n] [--dry-run] [--no-report]
//   --quick         every method for a few steps: does the machinery work? (no report)
//   --preliminary   the small study of four methods, one task and three seeds
//   --minutes n     begin no further run after n minutes
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const args = process.argv.slice(2);
const has = (name) => args.includes(name);
const which = has('--quick') ? 'quick' : has('--preliminary') ? 'preliminary' : 'sample';
const file = path.join('scripts', 'study', `${which}.dota-study.json`);
const minutes = has('--minutes') ? ['--minutes', args[args.indexOf('--minutes') + 1] ?? ''] : [];

function node(...command) {
  const { status } = spawnSync(process.execPath, command, { stdio: 'inherit' });
  return status ?? 70;
}

// An interrupt is for the study, which stops with a checkpoint; the report still follows.
process.on('SIGINT', () => {});

const models = which === 'sample' ? ['--models'] : [];
const prepared = node('scripts/run-ts.mjs', 'scripts/study/prepare.ts', ...models);
if (prepared !== 0) process.exit(prepared);
const cli = path.join('dist', 'trainer', 'cli.cjs');
if (has('--dry-run')) process.exit(node(cli, 'study', file, '--dry-run'));
const code = node(cli, 'study', file, ...minutes);
if (which !== 'quick' && !has('--no-report')) {
  const reported = node(cli, 'study', file, '--report', 'docs');
  node('node_modules/prettier/bin/prettier.cjs', '--write', 'docs/study.md');
  if (reported !== 0) process.exit(reported);
}
process.exit(code);
