// The study on the sample model: makes its data, carries it out (or goes on where an earlier start ended,
// on this machine or another), makes the base models of the ablations when only their runs are left, and
// writes docs/study.md from the results.
// Usage: npm run study [-- --quick | --preliminary] [--fresh] [--minutes n] [--jobs n] [--dry-run]
//                      [--no-report]
//   --quick         every method for a few steps, and again the orders that the report states on one
//                   seed: does the machinery work, do they hold? (no report)
//   --preliminary   the small study of four methods, one task and three seeds
//   --fresh         forget the results that are there and repeat everything from the seeds
//   --minutes n     begin no further run after n minutes
//   --jobs n        runs side by side (as many as the cores allow)
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';

const args = process.argv.slice(2);
const has = (name) => args.includes(name);
const valueOf = (name) => (has(name) ? [name, args[args.indexOf(name) + 1] ?? ''] : []);
const which = has('--quick') ? 'quick' : has('--preliminary') ? 'preliminary' : 'sample';
const file = path.join('scripts', 'study', `${which}.dota-study.json`);
const cli = path.join('dist', 'trainer', 'cli.cjs');
const began = performance.now();

function node(...command) {
  return spawnSync(process.execPath, command, { stdio: 'inherit' }).status ?? 70;
}

function prepare(...models) {
  const status = node('scripts/run-ts.mjs', 'scripts/study/prepare.ts', ...models);
  if (status !== 0) process.exit(status);
}

/** Base models without weights that runs wait for, by name. */
function missingModels() {
  const { stdout } = spawnSync(process.execPath, [cli, 'study', file, '--dry-run', '--json'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  const { runs } = JSON.parse(stdout.trimEnd().split('\n').at(-1));
  return [...new Set(runs.flatMap((run) => run.waits_for ?? []))].map((p) => path.basename(p));
}

function minutesLeft() {
  const [, minutes] = valueOf('--minutes');
  return minutes === undefined ? Infinity : Number(minutes) - (performance.now() - began) / 60_000;
}

function carryOut(...options) {
  const left = minutesLeft();
  if (left <= 0) return 75;
  const minutes = left === Infinity ? [] : ['--minutes', String(left)];
  return node(cli, 'study', file, ...valueOf('--jobs'), ...minutes, ...options);
}

/** Carries a study out on one core, beside others. */
async function carryOutBeside(name) {
  const study = path.join('scripts', 'study', `${name}.dota-study.json`);
  const child = spawn(process.execPath, [cli, 'study', study, '--jobs', '1'], { stdio: 'inherit' });
  return (await new Promise((resolve) => child.once('close', resolve))) ?? 70;
}

// An interrupt is for the study, which stops with a checkpoint; the report still follows.
let interrupted = false;
process.on('SIGINT', () => (interrupted = true));

prepare();
if (has('--dry-run')) process.exit(node(cli, 'study', file, '--dry-run', ...valueOf('--jobs')));
let code = carryOut(...(has('--fresh') ? ['--fresh'] : []));
if (code !== 75 && !interrupted) {
  const models = missingModels();
  if (models.length > 0 && minutesLeft() > 0) {
    prepare(...models);
    code = carryOut();
  }
}
if (which === 'quick' && code === 0) {
  // A study gives its rates to all of its methods alike, so each rate that the sweep chose has its file.
  const codes = await Promise.all(['orders-random', 'orders-full'].map(carryOutBeside));
  code = Math.max(...codes);
}
if (which !== 'quick' && !has('--no-report')) {
  const reported = node(cli, 'study', file, '--report', 'docs');
  node('node_modules/prettier/bin/prettier.cjs', '--write', 'docs/study.md');
  if (reported !== 0) process.exit(reported);
}
process.exit(code);
