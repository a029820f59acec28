import { appendFile, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { parsePlan } from '../../../src/decompose/plan';
import { Decomposer, requestOf } from '../../../src/host/decomposer';
import { DecompositionStore } from '../../../src/host/decompositionStore';
import { ModelList } from '../../../src/host/modelList';
import type { Trainer } from '../../../src/host/trainer';
import { writeSafetensors } from '../../../src/models/safetensors/writer';
import type { DecomposeEvent, ModuleDecompositionJson } from '../../../src/protocol/decomposition';
import { DotaError } from '../../../src/protocol/errors';
import { runDecompose } from '../../../src/trainer/commands/decompose';
import type { ModelEntry } from '../../../src/views/modelTree';
import { defaultOptions } from '../../../webview/explorer/state';
import { fixtureMatrix, randomMatrix } from '../mpo/helpers';

let folder: string;
let model: ModelEntry;
let asked: string[][];
let events: DecomposeEvent[];
/** Whether the last bond is told as a wide middle is: lower bounds only. */
let blur: boolean;
const modules = ['model.layers.0.a', 'model.layers.0.b', 'model.layers.1.a'];
const made = { ...defaultOptions, value: 5 };

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'dota-store-'));
  const weights = path.join(folder, 'model.safetensors');
  await writeSafetensors(
    weights,
    modules.map((name, k) => ({
      name: `${name}.weight`,
      dtype: 'F32' as const,
      shape: [48, 36],
      data: k === 1 ? randomMatrix(48, 36, 4) : fixtureMatrix('decay', 48, 36, 3 + k),
    })),
  );
  model = {
    path: folder,
    folder,
    name: 'small',
    removable: false,
    decompositions: new Map(),
  };
  asked = [];
  events = [];
  blur = false;
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** The trainer's command in this process: the real decomposition, its lines, its stop. */
const trainer: Pick<Trainer, 'command'> = {
  command: async (args, { signal, onLine } = {}) => {
    asked.push([...args]);
    const after = (name: string): string | undefined =>
      args.includes(name) ? args[args.indexOf(name) + 1] : undefined;
    const plan = after('--plan');
    await runDecompose(
      {
        path: folder,
        tensors: modules.filter((m) => args.includes(m)),
        cores: 3,
        rank: Number(after('--rank')),
        cacheFolder: after('--cache')!,
        stream: true,
        exactMiddle: args.includes('--exact-middle'),
        references: args.includes('--reference') ? ['gaussian', 'own_spectrum'] : [],
        ...(plan === undefined ? {} : { plan: parsePlan(await readFile(plan, 'utf8'), plan) }),
      },
      {
        gemm: plainGemm,
        print: (line) => {
          const event = JSON.parse(line) as DecomposeEvent;
          events.push(event);
          const last = event.type === 'module' ? event.result.bonds.at(-1) : undefined;
          if (blur && last !== undefined) last.exactSpectrum = false;
          onLine?.(blur ? JSON.stringify(event) : line);
        },
        note: () => undefined,
        ...(signal === undefined ? {} : { signal }),
      },
    );
    return {} as Awaited<ReturnType<Trainer['command']>>;
  },
};

const cacheFolder = (): string => path.join(folder, '.dota', 'cache', 'decompositions');

/** A window: its own list of models and its own view of the workspace's cache. */
function openWindow(): { models: ModelList; decomposer: Decomposer; store: DecompositionStore } {
  const models = new ModelList(() => ({ sample: '', workspaceFolders: [], listed: [] }));
  const store = new DecompositionStore(cacheFolder);
  return { models, store, decomposer: new Decomposer(trainer, models, store) };
}

const never = new AbortController().signal;
const cachedFlags = (): boolean[] => events.flatMap((e) => (e.type === 'module' ? [e.cached] : []));

describe('decompositions in the workspace', () => {
  it('are shown by the next window without asking the trainer or reading a weight', async () => {
    const first = openWindow();
    const request = requestOf(modules, made, false);
    await first.decomposer.run(model, request, never, () => undefined);
    // One module again, at ranks of its own: the newest counts.
    const cut = { ...made, ranks: { [modules[0]!]: [3, 2] } };
    await first.decomposer.run(model, requestOf([modules[0]!], cut, false), never, () => undefined);
    await first.store.settled();
    expect(await readFile(path.join(folder, '.dota', '.gitignore'), 'utf8')).toBe('*\n');

    const commands = asked.length;
    const second = openWindow();
    const seen: string[] = [];
    second.models.onDidDecompose(({ result }) => seen.push(result.module));
    await second.decomposer.restore(model);
    expect(asked).toHaveLength(commands);
    expect(seen.sort()).toEqual(modules);
    const known = second.models.known(folder);
    const mine = known.find((k) => k.result.module === modules[0])!;
    expect(mine.result.bonds.map((b) => b.dimension)).toEqual([3, 2]);
    expect(mine.made).toEqual(cut);
    const other = known.find((k) => k.result.module === modules[1])!;
    expect(other.made).toEqual(made);
    const before = first.models.known(folder).find((k) => k.result.module === modules[1])!;
    expect(other.result.keptEnergy).toBe(before.result.keptEnergy);
    expect(other.result.bonds.map((b) => b.spectrum.length)).toEqual(
      before.result.bonds.map((b) => b.spectrum.length),
    );
  });

  it('write nothing where the trainer may not be started', async () => {
    const models = new ModelList(() => ({ sample: '', workspaceFolders: [], listed: [] }));
    const refuse: Pick<Trainer, 'command'> = {
      command: () => Promise.reject(new DotaError('usage', 'Restricted Mode.')),
    };
    const decomposer = new Decomposer(refuse, models, new DecompositionStore(cacheFolder));
    await decomposer.restore(model);
    const run = decomposer.run(model, requestOf(modules, made), never, () => undefined);
    await expect(run).rejects.toThrow('Restricted');
    expect(await readdir(folder)).toEqual(['model.safetensors']);
  });

  it('go on where a cancelled request stopped, in the next window too', async () => {
    const first = openWindow();
    const abort = new AbortController();
    const request = requestOf(modules, made, false);
    await expect(
      first.decomposer.run(model, request, abort.signal, ({ module }) => {
        if (module === modules[1]) abort.abort();
      }),
    ).rejects.toMatchObject({ code: 'run.stopped' });
    expect(cachedFlags()).toEqual([false, false]);
    await first.store.settled();

    const second = openWindow();
    await second.decomposer.restore(model);
    expect(second.models.known(folder).map((k) => k.result.module)).toEqual(modules.slice(0, 2));
    events = [];
    await second.decomposer.run(model, request, never, () => undefined);
    expect(cachedFlags()).toEqual([true, true, false]);
    expect(second.models.known(folder)).toHaveLength(3);
  });

  it('keep the comparison with random matrices when the same cores are made without one', async () => {
    const { decomposer, models, store } = openWindow();
    await decomposer.run(model, requestOf(modules, made, true), never, () => undefined);
    await decomposer.run(model, requestOf(modules, made, false), never, () => undefined);
    await store.settled();
    const references = (list: ModelList): string[][] =>
      list.known(folder).map(({ result }) => result.references.map((r) => r.kind));
    const both = ['gaussian', 'own_spectrum'];
    expect(references(models)).toEqual([both, both, both]);
    const next = openWindow();
    await next.decomposer.restore(model);
    expect(references(next.models)).toEqual([both, both, both]);
    // Other ranks are another decomposition.
    const other = { ...made, value: 3 };
    await decomposer.run(model, requestOf(modules, other, false), never, () => undefined);
    expect(references(models)).toEqual([[], [], []]);
  });

  it('keep a whole spectrum that took long when other ranks are asked for', async () => {
    const { decomposer, models, store } = openWindow();
    const [name = ''] = modules;
    const isWhole = (list: ModelList): boolean[] | undefined =>
      list
        .known(folder)
        .find(({ result }) => result.module === name)
        ?.result.bonds.map((b) => b.exactSpectrum);
    // Sides above 1024 would take long here: results with the flags of a wide middle stand for them.
    blur = true;
    await decomposer.run(model, requestOf([name], made), never, () => undefined);
    expect(isWhole(models)).toEqual([true, false]);
    blur = false;
    const exact = { ...made, exactMiddle: true };
    await decomposer.run(model, requestOf([name], exact), never, () => undefined);
    expect(isWhole(models)).toEqual([true, true]);
    blur = true;
    const other = { ...made, value: 3 };
    await decomposer.run(model, requestOf([name], other), never, () => undefined);
    expect(isWhole(models)).toEqual([true, true]);
    await store.settled();
    blur = false;
    // In the cache too, the newest result knows lower bounds only.
    const [index = ''] = await readdir(path.join(cacheFolder(), 'models'));
    const lines = (await readFile(path.join(cacheFolder(), 'models', index), 'utf8')).split('\n');
    const { key } = JSON.parse(lines.at(-2)!) as { key: string };
    const entry = path.join(cacheFolder(), `${key}.json`);
    const stored = JSON.parse(await readFile(entry, 'utf8')) as ModuleDecompositionJson;
    stored.bonds.at(-1)!.exactSpectrum = false;
    await writeFile(entry, JSON.stringify(stored));
    const next = openWindow();
    await next.decomposer.restore(model);
    expect(isWhole(next.models)).toEqual([true, true]);
    expect(next.models.known(folder)[0]?.result.bonds[0]?.dimension).toBe(3);
  });

  it('are forgotten when the model’s files change', async () => {
    const { decomposer, models, store } = openWindow();
    await decomposer.restore(model);
    await decomposer.run(model, requestOf(modules, made, false), never, () => undefined);
    await store.settled();
    await decomposer.restore(model);
    expect(models.known(folder)).toHaveLength(3);
    await utimes(path.join(folder, 'model.safetensors'), 1, 1);
    await decomposer.restore(model);
    expect(models.known(folder)).toEqual([]);
    const next = openWindow();
    await next.decomposer.restore(model);
    expect(next.models.known(folder)).toEqual([]);
  });

  it('leave out what is damaged, and believe no line that points elsewhere', async () => {
    const first = openWindow();
    await first.decomposer.run(model, requestOf(modules, made, false), never, () => undefined);
    await first.store.settled();
    const entries = (await readdir(cacheFolder())).filter((name) => name.endsWith('.json'));
    expect(entries).toHaveLength(3);
    const damaged = path.join(cacheFolder(), entries[0]!);
    const name = (JSON.parse(await readFile(damaged, 'utf8')) as { module: string }).module;
    await writeFile(damaged, '{"module":"x","bonds":[]}');
    const [index] = await readdir(path.join(cacheFolder(), 'models'));
    const file = path.join(cacheFolder(), 'models', index!);
    const line = JSON.parse((await readFile(file, 'utf8')).split('\n')[0]!) as object;
    const secret = path.join(folder, 'secret');
    await writeFile(`${secret}.json`, await readFile(path.join(cacheFolder(), entries[1]!)));
    await appendFile(
      file,
      ['not json', '{}', JSON.stringify({ ...line, module: 'evil', key: '../../../secret' })].join(
        '\n',
      ),
    );
    const second = openWindow();
    await second.decomposer.restore(model);
    expect(second.models.known(folder).map((k) => k.result.module)).toEqual(
      modules.filter((m) => m !== name),
    );
  });
});
