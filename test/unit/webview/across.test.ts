import { describe, expect, it } from 'vitest';
import {
  acrossLayers,
  describeLayers,
  describePair,
  equalCompression,
  layerPair,
} from '../../../webview/explorer/acrossData';
import { jointError, totalTiles } from '../../../webview/explorer/totals';
import { initialState, reduceExplorer, type ExplorerState } from '../../../webview/explorer/state';
import { rankPattern } from '../../../webview/explorer/exports';
import { model, modules, options, result, training } from '../../webview/explorerData';

const list = modules(3);

function start(of: typeof list): ExplorerState {
  const init = reduceExplorer(initialState, { type: 'init', model, modules: of, options });
  return reduceExplorer(init, { type: 'training', training });
}

function loaded(skip: readonly string[] = []): ExplorerState {
  const init = start(list);
  const results = list.filter((m) => !skip.includes(m.name)).map((m) => result(m));
  return reduceExplorer(init, { type: 'results', options, results });
}

describe('across the model', () => {
  it('takes the numbers of the decomposition, layer by layer', () => {
    const missing = 'model.layers.1.self_attn.q_proj';
    const found = acrossLayers(loaded([missing]), 'q_proj');
    expect(found.map((p) => p.layer)).toEqual([0, 2]);
    const first = result(list[0]!);
    expect(found[0]!.kept).toBe(first.keptEnergy);
    expect(found[0]!.structure).toBeCloseTo(
      first.keptEnergy - Math.max(...first.references.map((r) => r.keptEnergy)),
      12,
    );
    expect(describeLayers('q_proj', found)).toContain('in 2 of 2 layers');
    expect(describeLayers('q_proj', [])).toBe('No q_proj is decomposed yet.');
  });

  it('calls no noise structure, and says when ranks differ', () => {
    const [a, b] = acrossLayers(loaded(), 'q_proj') as [never, never];
    const noise = { ...(a as object), structure: 0.002 } as typeof a;
    expect(describeLayers('q_proj', [noise])).toContain('in 0 of 1 layer');
    const worse = { ...(a as object), structure: -0.012 } as typeof a;
    const open = { ...(b as object), structure: undefined } as typeof b;
    expect(describeLayers('q_proj', [worse, open])).toBe(
      'q_proj keeps more than both references in 0 of 1 layer: 1.2 points less in layer 0. ' +
        '1 layer not compared yet: Decompose All does it.',
    );
    expect(equalCompression([a, b])).toBe(true);
    const larger = { ...(b as object), share: 0.4 } as typeof b;
    expect(equalCompression([a, larger])).toBe(false);
    expect(describeLayers('q_proj', [a, larger])).toContain('different ranks');
  });

  it('puts two layers side by side, kind by kind', () => {
    const missing = 'model.layers.2.mlp.up_proj';
    const pairs = layerPair(loaded([missing]), 0, 2);
    expect(pairs.map((p) => p.kind)).toEqual([
      'q_proj',
      'k_proj',
      'v_proj',
      'o_proj',
      'gate_proj',
      'up_proj',
      'down_proj',
    ]);
    expect(pairs[5]!.first?.module).toBe('model.layers.0.mlp.up_proj');
    expect(pairs[5]!.second).toBeUndefined();
    expect(describePair(pairs, 0, 2)).not.toContain('different ranks');
    const mean = pairs.reduce((sum, p) => sum + p.first!.kept, 0) / 7;
    expect(describePair(pairs, 0, 2)).toContain(
      `Layer 0 keeps ${(100 * mean).toPrecision(3)} % on average`,
    );
  });
});

describe('the whole model', () => {
  it('its error is that of all matrices taken as one', () => {
    // ||W||^2 = 4 + 1, ||lost||^2 = 4 * 0.25 + 1 * 0.01.
    const rows = [
      { energy: 4, error: 0.5 },
      { energy: 1, error: 0.1 },
    ];
    expect(jointError(rows)).toBeCloseTo(Math.sqrt(1.01 / 5), 12);
    expect(jointError([])).toBe(0);
  });

  it('leaves the head out of what is trained', () => {
    const head = { name: 'lm_head', kind: 'lm_head', rows: 4096, cols: 4096, dtype: 'BF16' };
    const init = start([...list, head]);
    const results = [...list.map((m) => result(m)), { ...result(list[0]!), module: 'lm_head' }];
    const state = reduceExplorer(init, { type: 'results', options, results });
    const [decomposed, ...others] = totalTiles(state);
    expect(decomposed?.value).toBe('22 of 22');
    expect(others).toEqual(totalTiles(loaded()).slice(1));
    expect(Object.keys(rankPattern(state).rankPattern)).toEqual(list.map((m) => m.name));
  });

  it('writes results of the other orientation with their legs exchanged', () => {
    const gate = list[4]!;
    const turned = { ...options, orientation: 'in' as const };
    const made = { ...result(gate, turned), rowFactors: [16, 16, 16], colFactors: [43, 16, 16] };
    const state = reduceExplorer(loaded(), { type: 'results', options: turned, results: [made] });
    const { orientation, shapes } = rankPattern(state);
    expect(orientation).toBe('out');
    expect(shapes[gate.name]).toEqual({ rows: [43, 16, 16], cols: [16, 16, 16] });
  });

  it('says nothing of memory where nothing is known', () => {
    const unknown = loaded();
    delete unknown.training;
    expect(totalTiles(unknown).at(-1)?.value).toBe('–');
  });
});
