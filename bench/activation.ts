/**
 * `npm run bench -- activation`: what the extension costs the editor: bundle size, time to load and
 * activate it, a million-row journal, a live update, and trees of 500 runs and 32 x 7 modules. Prints
 * one JSON object and fails when a limit is exceeded.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, createWriteStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { runAccess } from '../src/host/runAccess';
import { RunMonitor } from '../src/host/runMonitor';
import { JournalFeed } from '../src/panels/journalFeed';
import { summaryOf } from '../src/panels/runSummary';
import { childrenOf, textOf, type ModelNode, type TensorInfo } from '../src/views/modelTree';
import { textOfRun } from '../src/views/runsTree';
import { stepRow, writeSyntheticRun } from '../test/support/syntheticRun';

const bundle = path.resolve('dist/extension.cjs');

/** Upper limits; what is drawn must stay within two frames of 16 ms. */
const limits = {
  bundle_kb: 300,
  activate_ms: 50,
  journal_open_ms: 2000,
  live_update_ms: 50,
  runs_draw_ms: 32,
  model_draw_ms: 32,
};

/** A fresh process each time; the editor's own modules are already loaded there, as in the host. */
const activateScript = `
const Module = require('node:module');
const load = Module._load;
const any = new Proxy(function () {}, {
  get: (t, k) => (k === Symbol.toPrimitive ? () => '' : k === 'then' ? undefined : any),
  apply: () => any, construct: () => any, set: () => true,
});
const vscode = new Proxy({}, { get: (t, k) => k === 'workspace'
  ? new Proxy({ workspaceFolders: undefined, isTrusted: true, getConfiguration: () => ({ get: (k, d) => d }) }, { get: (t, k) => k in t ? t[k] : any })
  : any });
Module._load = function (request, ...rest) {
  return request === 'vscode' ? vscode : load.call(this, request, ...rest);
};
for (const name of ['crypto', 'child_process', 'readline', 'fs/promises', 'path', 'net', 'os', 'util']) require('node:' + name);
const started = performance.now();
const extension = require(process.argv[1]);
const loaded = performance.now();
extension.activate({ extensionPath: '/x', extensionUri: any, globalStorageUri: { fsPath: '/nowhere' }, subscriptions: [], workspaceState: { get: (k, d) => d, update: () => Promise.resolve() } });
process.stdout.write(JSON.stringify({ load: loaded - started, activate: performance.now() - loaded }));
process.exit(0);
`;

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

async function time(action: () => unknown): Promise<number> {
  const started = performance.now();
  await action();
  return performance.now() - started;
}

async function main(): Promise<void> {
  const runs = Array.from({ length: 9 }, () => {
    const out = execFileSync(process.execPath, ['-e', activateScript, bundle], {
      encoding: 'utf8',
    });
    return JSON.parse(out) as { load: number; activate: number };
  });
  const folder = mkdtempSync(path.join(tmpdir(), 'dota-bench-'));
  try {
    const journal = path.join(folder, 'metrics.jsonl');
    const stream = createWriteStream(journal);
    for (let step = 1; step <= 1_000_000; step++) {
      const line = `${JSON.stringify(stepRow(step - 1, step, 1_000_000))}\n`;
      if (!stream.write(line)) await once(stream, 'drain');
    }
    stream.end();
    await once(stream, 'close');
    const feed = new JournalFeed(journal);
    const drain = async (): Promise<void> => {
      for await (const piece of feed.read()) void piece;
    };
    const open = await time(drain);
    const updates: number[] = [];
    for (let i = 0; i < 20; i++) {
      const row = stepRow(1_000_000 + i, 1_000_001 + i, 2_000_000);
      appendFileSync(journal, `${JSON.stringify(row)}\n`);
      updates.push(await time(drain));
    }

    const root = path.join(folder, 'runs');
    for (let i = 0; i < 500; i++) writeSyntheticRun(root, { id: `run-${i}`, steps: 20 });
    const monitor = new RunMonitor({
      roots: () => [root],
      access: () => Promise.resolve(runAccess),
      controlledElsewhere: () => Promise.resolve(undefined),
      mayAttach: () => true,
      log: () => undefined,
    });
    const firstScan = await time(() => monitor.refresh());
    const nextScan = await time(() => monitor.refresh());
    const drawRuns = await time(() => monitor.list().map(textOfRun));
    const summaries = await time(() => Promise.all(monitor.list().map(summaryOf)));
    monitor.dispose();

    const names = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'];
    const tensors = Array.from({ length: 32 }, (_, layer) =>
      names.map((name): TensorInfo => ({
        name: `model.layers.${layer}.self_attn.${name}_proj.weight`,
        shape: [4096, 4096],
        dtype: 'BF16',
      })),
    ).flat();
    const visit = (node: ModelNode): void => {
      textOf(node);
      childrenOf(node).forEach(visit);
    };
    const drawModel = await time(() => {
      visit({
        kind: 'model',
        model: {
          path: '/m',
          folder: '/m',
          name: 'm',
          removable: false,
          tensors,
          decompositions: new Map(),
        },
      });
    });

    const result = {
      bundle_kb: Math.round(statSync(bundle).size / 1024),
      load_ms: median(runs.map((r) => r.load)),
      activate_ms: median(runs.map((r) => r.activate)),
      journal_rows: 1_000_000,
      journal_open_ms: open,
      live_update_ms: median(updates),
      runs: 500,
      runs_first_scan_ms: firstScan,
      runs_next_scan_ms: nextScan,
      runs_draw_ms: drawRuns,
      runs_summaries_ms: summaries,
      modules: tensors.length,
      model_draw_ms: drawModel,
    };
    const exceeded = Object.entries(limits)
      .filter(([name, limit]) => result[name as keyof typeof limits] > limit)
      .map(([name, limit]) => `${name} is above ${limit}`);
    console.log(JSON.stringify({ ...result, exceeded }));
    if (exceeded.length > 0) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
