import { describe, expect, it } from 'vitest';
import { lackedMemory, refusal, secondsLeft, type RunView } from '../../../src/host/runView';
import { parseEvent } from '../../../src/host/decomposer';
import type { ModuleDecomposition } from '../../../src/protocol/decomposition';
import { encodeDecomposition } from '../../../src/protocol/decomposition';
import { runStates, type RunState } from '../../../src/protocol/runFiles';
import { formatBytes, formatDuration, formatPercent, formatShort } from '../../../src/views/format';
import {
  childrenOf,
  modulesToDecompose,
  textOf,
  type ModelEntry,
  type ModelNode,
} from '../../../src/views/modelTree';
import { summaryOf } from '../../../src/panels/runSummary';
import { detailsOfRun, statusOf, textOfRun } from '../../../src/views/runsTree';

const result: ModuleDecomposition = {
  module: 'model.layers.0.self_attn.q_proj',
  rows: 128,
  cols: 128,
  rowFactors: [4, 8, 4],
  colFactors: [4, 8, 4],
  orientation: 'out',
  cores: [
    [1, 4, 4, 8],
    [8, 8, 8, 8],
    [8, 4, 4, 1],
  ],
  bonds: [
    {
      dimension: 8,
      fullDimension: 16,
      spectrum: Float64Array.of(3, 2, 1),
      exactSpectrum: true,
      discardedEnergy: 0.5,
    },
    {
      dimension: 8,
      fullDimension: 16,
      spectrum: Float64Array.of(3, 2),
      exactSpectrum: true,
      discardedEnergy: 0.25,
    },
  ],
  energy: 14,
  keptEnergy: 0.9464,
  relativeError: 0.2315,
  parameters: 4352,
  references: [],
  seconds: 0.1,
};

function model(decomposed: boolean): ModelEntry {
  const proj = (layer: number, name: string): ModelEntry['tensors'] => [
    { name: `model.layers.${layer}.self_attn.${name}.weight`, shape: [128, 128], dtype: 'BF16' },
  ];
  return {
    path: 'sample',
    folder: '/m',
    name: 'sample',
    removable: false,
    architecture: 'llama',
    numLayers: 11,
    tensors: [
      { name: 'model.embed_tokens.weight', shape: [512, 128], dtype: 'BF16' },
      ...proj(10, 'q_proj')!,
      ...proj(0, 'q_proj')!,
      ...proj(0, 'v_proj')!,
      { name: 'model.layers.0.input_layernorm.weight', shape: [128], dtype: 'BF16' },
      { name: 'model.norm.weight', shape: [128], dtype: 'BF16' },
    ],
    decompositions: new Map(decomposed ? [[result.module, result]] : []),
  };
}

function walk(node: ModelNode, path: readonly string[]): ModelNode {
  const [label, ...rest] = path;
  if (label === undefined) return node;
  const child = childrenOf(node).find((c) => textOf(c).label === label);
  if (child === undefined) throw new Error(`No ${label} under ${textOf(node).label}`);
  return walk(child, rest);
}

describe('the model tree', () => {
  it('orders layers by number and puts the rest last', () => {
    const layers = childrenOf({ kind: 'model', model: model(false) }).map((n) => textOf(n).label);
    expect(layers).toEqual(['Layer 0', 'Layer 10', 'Outside of the layers']);
  });

  it('shows modules with shape, type and parameters, matrices alone to be decomposed', () => {
    const layer = walk({ kind: 'model', model: model(false) }, ['Layer 0']);
    const [norm, q] = childrenOf(layer).map(textOf);
    expect(q).toMatchObject({
      label: 'self_attn.q_proj',
      description: '128 × 128 · BF16 · 16.4 k',
      collapsible: false,
    });
    expect(q!.context).toContain('canDecompose');
    expect(norm!.context).not.toContain('canDecompose');
    expect(modulesToDecompose({ kind: 'model', model: model(false) })).toEqual([
      'model.layers.0.self_attn.q_proj',
      'model.layers.0.self_attn.v_proj',
      'model.layers.10.self_attn.q_proj',
    ]);
  });

  it('puts the chain under a decomposed module, core by core and bond by bond', () => {
    const mpo = walk({ kind: 'model', model: model(true) }, [
      'Layer 0',
      'self_attn.q_proj',
      'MPO of 3 cores',
    ]);
    expect(textOf(mpo).description).toBe(
      'kept 94.6 % · error 23.2 % · 4,352 parameters · 3.8× smaller',
    );
    expect(childrenOf(mpo).map((n) => [textOf(n).label, textOf(n).description])).toEqual([
      ['Core 1', '1 × 4 × 4 × 8 · 128'],
      ['Bond 1', '8 of 16'],
      ['Core 2', '8 × 8 × 8 × 8 · 4,096'],
      ['Bond 2', '8 of 16'],
      ['Core 3', '8 × 4 × 4 × 1 · 128'],
    ]);
  });

  it('speaks in sentences and keeps ids apart', () => {
    const root: ModelNode = { kind: 'model', model: model(true) };
    const ids = new Set<string>();
    const visit = (node: ModelNode): void => {
      const text = textOf(node);
      expect(ids.has(text.id), text.id).toBe(false);
      ids.add(text.id);
      expect(text.spoken.length).toBeGreaterThan(3);
      childrenOf(node).forEach(visit);
    };
    visit(root);
    const bond = walk(root, ['Layer 0', 'self_attn.q_proj', 'MPO of 3 cores', 'Bond 1']);
    expect(textOf(bond).spoken).toBe('Bond 1, dimension 8 of 16');
    expect(textOf(walk(root, ['Layer 0'])).spoken).toMatch(
      /^Layer 0, .* parameters, 1 decomposed$/,
    );
    expect(textOf(root).spoken).toMatch(/^Model .* parameters$/);
  });

  it('says why a model cannot be used', () => {
    const broken = { ...model(false), problem: 'config.json: not there.' };
    expect(childrenOf({ kind: 'model', model: broken }).map((n) => textOf(n).label)).toEqual([
      'config.json: not there.',
    ]);
  });
});

describe('dota decompose --stream', () => {
  it('yields results and failures, and passes over anything else', () => {
    const line = JSON.stringify({
      type: 'module',
      done: 1,
      total: 2,
      result: encodeDecomposition(result),
    });
    expect(parseEvent(line)?.result).toEqual(result);
    expect(
      parseEvent('{"type":"failure","module":"a","error":{"code":"internal","message":"x"}}'),
    ).toEqual({
      failure: 'a',
    });
    for (const bad of ['', 'hello', '[]', '{"type":"module","result":{"module":"a"}}'])
      expect(parseEvent(bad)).toBeUndefined();
  });
});

function run(state: RunState, changes: Partial<RunView> = {}): RunView {
  return {
    key: '/r/a',
    id: 'a',
    state,
    live: state === 'running' || state === 'paused',
    unresponsive: false,
    observed: false,
    resumable: true,
    manifest: {
      formatVersion: 1,
      id: 'a',
      name: 'a run',
      state,
      createdAt: '2026-01-02T03:04:05Z',
      config: {},
      configDirectory: '/w',
      versions: { dota: '', node: '', onnxruntime: '', platform: '' },
      progress: { step: 10, totalSteps: 100, epoch: 1, tokens: 1000 },
    },
    last: { step: 10, loss: 1.25, tokensPerSecond: 5000, elapsed: 20 },
    ...changes,
  };
}

describe('the runs tree', () => {
  it('says state, progress, loss and the time that is left', () => {
    expect(textOfRun(run('running')).description).toBe(
      'running · 10/100 · loss 1.250 · 3 min left',
    );
    expect(textOfRun(run('crashed')).description).toBe('crashed · 10/100 · loss 1.250');
  });

  it('offers exactly the actions that a state allows', () => {
    const flags = (view: RunView): string[] =>
      textOfRun(view)
        .context.split(' ')
        .filter((f) => f.startsWith('can'));
    const expected: Record<RunState, string[]> = {
      created: ['canResume', 'canDelete'],
      running: ['canStop', 'canPause'],
      paused: ['canStop', 'canResume'],
      stopped: ['canResume', 'canDelete'],
      finished: ['canDelete'],
      failed: ['canResume', 'canDelete'],
      crashed: ['canResume', 'canDelete'],
    };
    for (const state of runStates) expect(flags(run(state)), state).toEqual(expected[state]);
    expect(flags(run('running', { unresponsive: true }))).toContain('canForceStop');
    expect(flags(run('running', { controlDisabledReason: 'another window' }))).toEqual([]);
    expect(refusal(run('running'), 'resume')).toMatch(/running already/);
  });

  it('offers a smaller micro-batch after memory ran out, or may have', () => {
    const config = { training: { per_device_train_batch_size: 4 } };
    const failed = (state: RunState, changes: Partial<RunView['manifest']>): RunView => {
      const view = run(state);
      return { ...view, manifest: { ...view.manifest, config, ...changes } };
    };
    const lacked = { code: 'device.outOfMemory', message: 'x', next: 'y' } as const;
    const offered = (view: RunView): boolean =>
      textOfRun(view).context.split(' ').includes('canResumeSmaller');
    expect(offered(failed('stopped', { error: lacked }))).toBe(true);
    expect(offered(failed('stopped', { error: lacked, microBatch: 1 }))).toBe(false);
    expect(offered(failed('stopped', {}))).toBe(false);
    expect(offered(failed('failed', { error: { code: 'internal', message: 'x' } }))).toBe(false);
    // Killed, with most of the machine's memory in use.
    const machine = 8 * 2 ** 30;
    expect(lackedMemory(failed('crashed', { peakRssMb: 6000 }), machine)).toBe(true);
    expect(lackedMemory(failed('crashed', { peakRssMb: 2000 }), machine)).toBe(false);
    expect(lackedMemory(failed('stopped', { peakRssMb: 6000 }), machine)).toBe(false);
    expect(detailsOfRun(failed('stopped', { error: lacked, microBatch: 2 }))).toEqual(
      expect.arrayContaining([
        ['Micro-batch', '2'],
        ['Error', 'x y'],
      ]),
    );
  });

  it('shows what 4-bit weights lost, beside what plain NF4 would have', () => {
    const quantization = { relativeError: 0.0831, plainRelativeError: 0.0912, modules: 28 };
    const finished = run('finished');
    const manifest = { ...finished.manifest, quantization };
    const details = new Map(detailsOfRun({ ...finished, manifest }));
    const text = details.get('Error of 4-bit weights at step 0');
    expect(text).toMatch(/^8\.3\d*\s?% .*9\.1\d*\s?%\)$/);
    expect(detailsOfRun(run('finished')).map(([name]) => name)).not.toContain(
      'Error of 4-bit weights at step 0',
    );
  });

  it('shows the device with why it is not the GPU, and the memory of both', () => {
    const finished = run('finished');
    const manifest: RunView['manifest'] = {
      ...finished.manifest,
      device: { kind: 'cpu', name: 'AMD EPYC', threads: 2, reason: 'It is software.' },
      peakRssMb: 724.3,
      peakDeviceMb: 0.2,
    };
    expect(detailsOfRun({ ...finished, manifest })).toEqual(
      expect.arrayContaining([
        ['Device', 'CPU (AMD EPYC, 2 threads); the GPU is not used: It is software.'],
        ['Peak memory', '724 MB'],
        ['Peak GPU memory', '0.2 MB'],
      ]),
    );
  });

  it('says what a trainer does before and between its steps, in the tree and in the panel', async () => {
    const doing = (activity: Partial<NonNullable<RunView['activity']>>): RunView =>
      run('running', {
        activity: { phase: 'training', step: 0, totalSteps: 0, epoch: 0, ...activity },
      });
    const words = async (view: RunView): Promise<(string | undefined)[]> => [
      textOfRun(view).description.split(' · ')[0],
      (await summaryOf(view)).activity,
    ];
    const asking = doing({ phase: 'probing' });
    expect(await words(asking)).toEqual(['asking the GPU', 'asking the GPU']);
    const counted = doing({ phase: 'decomposing', done: 3, total: 28 });
    expect(await words(counted)).toEqual(['decomposing 3/28', 'decomposing 3/28']);
    expect(await words(doing({}))).toEqual(['running', undefined]);
    expect(await words({ ...asking, live: false, state: 'crashed' })).toEqual([
      'crashed',
      undefined,
    ]);
  });

  it('shows one status item while something runs, and none otherwise', () => {
    expect(statusOf([run('finished')])).toBeUndefined();
    expect(statusOf([run('running')])?.text).toBe('$(sync~spin) DoTA 10/100 · loss 1.25');
    expect(statusOf([run('running'), run('paused')])?.text).toContain('+1');
    expect(statusOf([run('running', { unresponsive: true })])?.failed).toBe(true);
  });

  it('estimates the time left from the pace so far', () => {
    expect(secondsLeft(run('running'))).toBe(180);
    expect(secondsLeft(run('stopped'))).toBeUndefined();
  });
});

describe('numbers as they are shown', () => {
  it('never rounds a lossy share to 100 %', () => {
    expect(formatPercent(0.9464)).toBe('94.6 %');
    expect(formatPercent(0.99999)).toBe('99.999 %');
    expect(formatPercent(1)).toBe('100.0 %');
    expect(formatPercent(0)).toBe('0.0 %');
  });

  it('uses fitting units', () => {
    expect([9999, 16_384, 1_400_000, 999_999].map(formatShort)).toEqual([
      '9,999',
      '16.4 k',
      '1.40 M',
      '1.00 M',
    ]);
    expect([512, 2048, 5.5 * 1024 * 1024].map(formatBytes)).toEqual(['512 B', '2 KB', '5.5 MB']);
    expect([45, 200, 7500].map(formatDuration)).toEqual(['45 s', '3 min 20 s', '2 h 5 min']);
  });
});
