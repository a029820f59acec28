/** A workspace to test in, and what its run folders say. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import type { JournalRow, LockFile, RunManifest } from '../../src/protocol/runFiles';
import { writeTinyModel } from '../support/tinyModel';
import type { EditorPlaces } from './globalSetup';

export type StepRow = Extract<JournalRow, { kind: 'step' }>;

export class Project {
  private constructor(readonly folder: string) {}

  static async create(editor: EditorPlaces, name: string): Promise<Project> {
    const folder = path.join(editor.workspaces, name);
    await writeTinyModel(path.join(folder, 'models', 'tiny'));
    for (const split of ['train', 'validation']) {
      const file = `arithmetic.${split}.json`;
      mkdirSync(path.join(folder, 'data'), { recursive: true });
      copyFileSync(path.resolve('media/sample/data', file), path.join(folder, 'data', file));
    }
    return new Project(folder);
  }

  /** A folder with nothing in it. */
  static empty(editor: EditorPlaces, name: string): Project {
    const folder = path.join(editor.workspaces, name);
    mkdirSync(folder, { recursive: true });
    return new Project(folder);
  }

  /** No trainer of this workspace outlives its tests. */
  endTrainers(): void {
    for (const folder of this.runs()) {
      const pid = this.lock(folder)?.pid;
      if (pid !== undefined && isRunning(pid)) process.kill(pid, 'SIGKILL');
    }
  }

  get runsFolder(): string {
    return path.join(this.folder, '.dota', 'runs');
  }

  /** Writes `<name>.dota.json`: full fine-tuning of the tiny model for so many steps. */
  writeConfig(name: string, steps: number, training: Record<string, unknown> = {}): string {
    const file = path.join(this.folder, `${name}.dota.json`);
    const config = {
      name,
      model: 'models/tiny',
      method: 'full',
      data: { train: 'data/arithmetic.train.json', max_length: 64 },
      training: {
        max_steps: steps,
        per_device_train_batch_size: 2,
        save_steps: 10,
        eval_steps: 1_000_000,
        eval_on_start: false,
        load_best_model_at_end: false,
        // What is watched and killed for minutes: at 300 steps a second its journal would be the test's load.
        ...(steps >= 20_000 && { gradient_accumulation_steps: 8 }),
        ...training,
      },
      device: 'cpu',
      threads: 1,
    };
    writeFileSync(file, `${JSON.stringify(config, null, 2)}\n`);
    return file;
  }

  /** Trains so many steps of a method to the end, with the packaged trainer; the run is called so. */
  train(method: string, steps: number): string {
    const file = this.writeConfig(method, steps, { learning_rate: 0.02, save_steps: steps });
    const config = JSON.parse(readFileSync(file, 'utf8')) as { data: object };
    Object.assign(config, { method, adapter: { r: 4, target_modules: ['q_proj', 'v_proj'] } });
    Object.assign(config.data, { validation: 'data/arithmetic.validation.json' });
    writeFileSync(file, `${JSON.stringify(config, null, 2)}\n`);
    this.dota('train', file);
    return this.run(method);
  }

  /** Writes `<name>.dota-study.json`, "A small study" of the tiny model at two learning rates. */
  writeStudy(name: string, methods: readonly string[], steps: number): void {
    const study = {
      name: 'A small study',
      model: 'models/tiny',
      methods: Object.fromEntries(methods.map((method) => [method, { method }])),
      tasks: {
        arithmetic: {
          train: 'data/arithmetic.train.json',
          validation: 'data/arithmetic.validation.json',
          max_length: 64,
        },
      },
      ranks: [2],
      seeds: [0],
      learning_rates: [0.001, 0.01],
      training: { max_steps: steps, per_device_train_batch_size: 2, eval_steps: steps },
      validation_rows: 4,
      device: 'cpu',
      threads: 1,
    };
    const file = path.join(this.folder, `${name}.dota-study.json`);
    writeFileSync(file, JSON.stringify(study, null, 2));
  }

  /** A configuration that the editor wrote at the top of the workspace; undefined until it is whole. */
  writtenConfig(): object | undefined {
    const name = readdirSync(this.folder).find((n) => n.endsWith('.dota.json'));
    if (name === undefined) return undefined;
    try {
      return JSON.parse(readFileSync(path.join(this.folder, name), 'utf8')) as object;
    } catch {
      return undefined;
    }
  }

  /** The last line that a command of the trainer prints with `--json`. */
  dota(...args: string[]): unknown {
    const cli = path.resolve('dist/trainer/cli.cjs');
    const output = execFileSync(process.execPath, [cli, ...args, '--json'], {
      cwd: this.folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return JSON.parse(output.trim().split('\n').at(-1)!) as unknown;
  }

  /** The folder of the run with this name. */
  run(name: string): string {
    const found = this.runs().find((folder) => this.manifest(folder)?.name === name);
    if (found === undefined) throw new Error(`No run ${name}`);
    return found;
  }

  runs(): string[] {
    if (!existsSync(this.runsFolder)) return [];
    return readdirSync(this.runsFolder)
      .sort()
      .map((id) => path.join(this.runsFolder, id));
  }

  manifest(folder: string): RunManifest | undefined {
    try {
      return JSON.parse(readFileSync(path.join(folder, 'run.json'), 'utf8')) as RunManifest;
    } catch {
      return undefined;
    }
  }

  lock(folder: string): LockFile | undefined {
    try {
      return JSON.parse(readFileSync(path.join(folder, 'lock.json'), 'utf8')) as LockFile;
    } catch {
      return undefined;
    }
  }

  /** Step rows that count: those superseded by a resume are left out. */
  steps(folder: string): StepRow[] {
    const file = path.join(folder, 'metrics.jsonl');
    if (!existsSync(file)) return [];
    let steps: StepRow[] = [];
    const text = readFileSync(file, 'utf8');
    for (const line of text.slice(0, text.lastIndexOf('\n')).split('\n')) {
      const row = JSON.parse(line) as JournalRow;
      if (row.kind === 'step') steps.push(row);
      if (row.kind === 'resume') steps = steps.filter((s) => s.step <= row.step);
    }
    return steps;
  }
}

/** Process ids below a parent whose command line matches. */
export function descendants(parent: number, pattern: RegExp): number[] {
  const parents = new Map<number, number>();
  const commands = new Map<number, string>();
  for (const name of readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
      commands.set(
        Number(name),
        readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' '),
      );
    } catch {
      // It ended meanwhile.
    }
  }
  const isBelow = (pid: number): boolean => {
    for (let p: number | undefined = pid; p !== undefined && p > 1; p = parents.get(p))
      if (p === parent) return true;
    return false;
  };
  return [...commands]
    .filter(([pid, command]) => pattern.test(command) && isBelow(pid))
    .map(([pid]) => pid);
}

/** The process group of a process, without the process's own ancestors (the editor's server). */
export function groupWithoutAncestors(pid: number): number[] {
  const ancestors = new Set<number>();
  for (let p = parentOf(pid); p > 1; p = parentOf(p)) ancestors.add(p);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((other) => isRunning(other) && !ancestors.has(other))
    .filter((other) => fieldOf(other, 2) === fieldOf(pid, 2));
}

function parentOf(pid: number): number {
  return fieldOf(pid, 1);
}

/** A field of `/proc/<pid>/stat` after the command's name; 0 where the process has ended. */
function fieldOf(pid: number, index: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[index]);
  } catch {
    return 0;
  }
}

/** The process group of a process. */
export function processGroup(pid: number): number {
  return fieldOf(pid, 2);
}

/** When a process started, in ticks since the machine did; 0 where it has ended. */
export function startTicks(pid: number): number {
  return fieldOf(pid, 19);
}

export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
}
