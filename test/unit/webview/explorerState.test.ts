import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ModuleDecomposition } from '../../../src/protocol/decomposition';
import {
  parseExplorerHostMessage,
  parseExplorerViewMessage,
} from '../../../src/protocol/explorerPanel';
import {
  estimate,
  maxRank,
  parameterCount,
  prepare,
  ranksFor,
  structure,
  tail,
} from '../../../webview/explorer/cut';
import { moduleRows, rankPattern, rowsToCsv, rowsToLatex } from '../../../webview/explorer/exports';
import { isEstimate, measureOf } from '../../../webview/explorer/measures';
import {
  initialState,
  isCurrent,
  parseViewState,
  ranksOf,
  reduceExplorer,
  requestOptions,
  withCut,
  withOptions,
  withShape,
  withView,
  type ExplorerState,
} from '../../../webview/explorer/state';
import { parseFactors, shapeProblem } from '../../../webview/explorer/shapeForm';
import { model, modules, options, result, training } from '../../webview/explorerData';

/** A decomposition with given spectra; `exact` false marks lower bounds. */
function make(
  rowFactors: number[],
  colFactors: number[],
  spectra: number[][],
  exact: boolean[],
  ranks: number[],
): ModuleDecomposition {
  const energy = spectra[0]!.reduce((s, v) => s + v * v, 0);
  const pairs = rowFactors.map((i, k) => i * colFactors[k]!);
  const product = (list: number[]): number => list.reduce((a, b) => a * b, 1);
  return {
    module: 'm',
    rows: product(rowFactors),
    cols: product(colFactors),
    rowFactors,
    colFactors,
    orientation: 'out',
    cores: pairs.map(
      (_, k) => [ranks[k - 1] ?? 1, rowFactors[k]!, colFactors[k]!, ranks[k] ?? 1] as const,
    ),
    bonds: spectra.map((s, k) => ({
      dimension: ranks[k]!,
      fullDimension: Math.min(product(pairs.slice(0, k + 1)), product(pairs.slice(k + 1))),
      spectrum: Float64Array.from(s),
      exactSpectrum: exact[k]!,
      discardedEnergy: 0,
    })),
    energy,
    keptEnergy: 0.5,
    relativeError: 0.123,
    parameters: 0,
    references: [],
    seconds: 0,
  };
}

const spectrum = (length: number) =>
  fc
    .array(fc.double({ min: 0.01, max: 10, noNaN: true }), { minLength: length, maxLength: length })
    .map((s) => s.sort((a, b) => b - a));

describe('cut arithmetic', () => {
  it('tail is the energy beyond the cut, summed from the other end', () => {
    fc.assert(
      fc.property(spectrum(16), fc.integer({ min: 1, max: 16 }), (s, d) => {
        const p = prepare(make([4, 4], [4, 4], [s], [true], [16]));
        const expected = s.slice(d).reduce((sum, v) => sum + v * v, 0);
        // Both sums have at most 16 terms of at most 100: rounding is below 1e-10.
        expect(Math.abs(tail(p, 0, d) - expected)).toBeLessThan(1e-10);
      }),
    );
  });

  it('with one truncated exact bond the error is exact: sqrt(tail / energy)', () => {
    fc.assert(
      fc.property(spectrum(16), fc.integer({ min: 1, max: 15 }), (s, d) => {
        const p = prepare(make([4, 4], [4, 4], [s], [true], [16]));
        const e = estimate(p, [d]);
        const lost =
          s.slice(d).reduce((sum, v) => sum + v * v, 0) / s.reduce((sum, v) => sum + v * v, 0);
        expect(e.exact).toBe(true);
        expect(e.errorHigh).toBe(e.errorLow);
        expect(Math.abs(e.errorHigh - Math.sqrt(lost))).toBeLessThan(1e-7);
        expect(e.parameters).toBe(16 * d + d * 16);
      }),
    );
  });

  it('with two truncated bonds it lies between the largest tail and the root of their sum', () => {
    const a = [3, 2, 1, 0.5];
    // The same energy, spread otherwise.
    const energy = a.reduce((s, v) => s + v * v, 0);
    const b = [2, 2, 2].concat(Math.sqrt(energy - 12));
    const p = prepare(make([2, 2, 2], [2, 2, 2], [a, b], [true, true], [4, 4]));
    const e = estimate(p, [2, 3]);
    const ta = 1.25 / energy;
    const tb = (energy - 12) / energy;
    expect(e.exact).toBe(false);
    expect(e.errorLow).toBeCloseTo(Math.sqrt(Math.max(ta, tb)), 12);
    expect(e.errorHigh).toBeCloseTo(Math.sqrt(ta + tb), 12);
    expect(e.parameters).toBe(1 * 4 * 2 + 2 * 4 * 3 + 3 * 4 * 1);
    expect(e.errorLow).toBeLessThanOrEqual(e.errorHigh);
  });

  it('takes the measured error at the ranks that were decomposed', () => {
    const p = prepare(
      make(
        [2, 2, 2],
        [2, 2, 2],
        [
          [3, 2, 1, 0.5],
          [3, 2, 1, 0.5],
        ],
        [true, true],
        [2, 3],
      ),
    );
    expect(estimate(p, [2, 3])).toMatchObject({ exact: true, errorLow: 0.123, errorHigh: 0.123 });
  });

  it('the likely error lies between the bounds, meets the measured one, and never rises with rank', () => {
    fc.assert(
      fc.property(
        spectrum(4),
        spectrum(4),
        fc.double({ min: 0.05, max: 0.95, noNaN: true }),
        (a, b, between) => {
          // The same energy on both sides, as unfoldings of one tensor have.
          const scale = Math.sqrt(
            a.reduce((s, v) => s + v * v, 0) / b.reduce((s, v) => s + v * v, 0),
          );
          const r = make([2, 2, 2], [2, 2, 2], [a, b.map((v) => v * scale)], [true, true], [2, 2]);
          const bare = prepare({ ...r, keptEnergy: 1 });
          const share = (k: number, d: number): number => 1 - tail(bare, k, d) / r.energy;
          const kept =
            Math.min(share(0, 2), share(1, 2)) * (1 - between) +
            share(0, 2) * share(1, 2) * between;
          const p = prepare({ ...r, keptEnergy: kept, relativeError: Math.sqrt(1 - kept) });
          for (const ranks of [
            [1, 2],
            [1, 1],
            [2, 1],
            [3, 2],
            [3, 3],
          ]) {
            const e = estimate(p, ranks);
            expect(e.error).toBeGreaterThanOrEqual(e.errorLow - 1e-12);
            expect(e.error).toBeLessThanOrEqual(e.errorHigh + 1e-12);
          }
          expect(estimate(p, [2, 2]).error).toBeCloseTo(Math.sqrt(1 - kept), 12);
          expect(estimate(p, [1, 1]).error).toBeGreaterThanOrEqual(
            estimate(p, [1, 2]).error - 1e-9,
          );
          expect(estimate(p, [3, 3]).error).toBeLessThanOrEqual(estimate(p, [3, 1]).error + 1e-9);
        },
      ),
    );
  });

  it('lower bounds of singular values give an upper bound of the error only', () => {
    const p = prepare(make([4, 4], [4, 4], [[3, 2]], [false], [2]));
    const q = { ...p, result: { ...p.result, energy: 20 } };
    const e = estimate(q, [1]);
    expect(e.exact).toBe(false);
    expect(e.errorLow).toBe(0);
    expect(e.errorHigh).toBeCloseTo(Math.sqrt((20 - 9) / 20), 12);
    // The cut can't go where nothing is known.
    expect(maxRank(q.result, 0)).toBe(2);
    expect(estimate(q, [9]).ranks).toEqual([2]);
  });

  it('a full bond costs no error; a zero matrix has none', () => {
    const p = prepare(make([4, 4], [4, 4], [Array.from({ length: 16 }, () => 1)], [true], [3]));
    expect(estimate(p, [16])).toMatchObject({ exact: true, errorHigh: 0 });
    const zero = prepare(make([4, 4], [4, 4], [Array.from({ length: 16 }, () => 0)], [true], [3]));
    expect(estimate(zero, [2]).errorHigh).toBe(0);
  });

  it('more rank never means more error, nor fewer parameters', () => {
    fc.assert(
      fc.property(spectrum(16), fc.integer({ min: 1, max: 14 }), (s, d) => {
        const p = prepare(make([4, 4], [4, 4], [s], [true], [16]));
        expect(estimate(p, [d + 1]).errorHigh).toBeLessThanOrEqual(
          estimate(p, [d]).errorHigh + 1e-12,
        );
        expect(estimate(p, [d + 1]).parameters).toBeGreaterThan(estimate(p, [d]).parameters);
      }),
    );
  });

  it('ranks by tolerance are the smallest whose error is within it', () => {
    fc.assert(
      fc.property(
        spectrum(16),
        fc.double({ min: 0.01, max: 0.95, noNaN: true }),
        (s, tolerance) => {
          const p = prepare(make([4, 4], [4, 4], [s], [true], [16]));
          const [d] = ranksFor(p, 'error', tolerance) as [number];
          const error = (k: number): number => Math.sqrt(tail(p, 0, k) / p.result.energy);
          expect(error(d)).toBeLessThanOrEqual(tolerance * (1 + 1e-9));
          if (d > 1) expect(error(d - 1)).toBeGreaterThan(tolerance * (1 - 1e-9));
          expect(ranksFor(p, 'energy', 1 - tolerance * tolerance)).toEqual([d]);
        },
      ),
    );
  });

  it('counts the entries of all cores', () => {
    expect(parameterCount([4, 8, 4], [2, 3])).toBe(4 * 2 + 2 * 8 * 3 + 3 * 4);
  });

  it('structure is what is kept beyond the better reference', () => {
    const r = result(modules(1)[0]!);
    const best = Math.max(...r.references.map((x) => x.keptEnergy));
    expect(structure(r)).toBeCloseTo(r.keptEnergy - best, 12);
    expect(structure({ ...r, references: [] })).toBeUndefined();
    // The Gaussian alone overstates it.
    expect(structure({ ...r, references: r.references.slice(0, 1) })).toBeUndefined();
  });
});

describe('explorer state', () => {
  const list = modules(2);
  const name = list[0]!.name;
  const loaded = (): ExplorerState =>
    [
      { type: 'init' as const, model, modules: list, options },
      { type: 'results' as const, options, results: list.slice(0, 3).map((m) => result(m)) },
    ].reduce<ExplorerState>(reduceExplorer, initialState);

  it('selects the first module in a layer, or the one in focus', () => {
    expect(loaded().view.selected).toBe(name);
    const focused = reduceExplorer(initialState, {
      type: 'init',
      model,
      modules: list,
      options,
      focus: list[4]!.name,
    });
    expect(focused.view.selected).toBe(list[4]!.name);
    expect(reduceExplorer(focused, { type: 'focus', module: 'nothing' })).toBe(focused);
  });

  it('keeps view choices over a reload and drops modules that are gone', () => {
    const view = parseViewState({
      measure: 'error',
      selected: 'gone',
      cuts: { [name]: [3, 4], x: 'y' },
      options: { ...options, cores: 4 },
    });
    const state = reduceExplorer(
      { ...initialState, view },
      { type: 'init', model, modules: list, options },
    );
    expect(state.view.measure).toBe('error');
    expect(state.view.selected).toBe(name);
    expect(state.options.cores).toBe(4);
    expect(state.view.cuts).toEqual({ [name]: [3, 4] });
    expect(parseViewState('junk')).toEqual(initialState.view);
  });

  it('a cut changes one bond of one module; a new rule undoes cuts', () => {
    const cut = withCut(loaded(), name, 1, 5);
    expect(ranksOf(cut, name)).toEqual([32, 5]);
    expect(ranksOf(cut, list[1]!.name)).toEqual([32, 32]);
    expect(withCut(cut, name, 1, 5)).toBe(cut);
    const ruled = withOptions(cut, { value: 16 });
    expect(ranksOf(ruled, name)).toEqual([16, 16]);
    expect(ranksOf(ruled, 'unknown')).toBeUndefined();
  });

  it('a failed module is told apart, and a result heals it', () => {
    const failed = reduceExplorer(loaded(), {
      type: 'error',
      module: name,
      error: { code: 'file.malformed', message: 'x' },
    });
    expect(failed.failures.has(name)).toBe(true);
    const healed = reduceExplorer(failed, {
      type: 'results',
      options,
      results: [result(list[0]!)],
    });
    expect(healed.failures.has(name)).toBe(false);
  });

  it('measures agree with the estimate', () => {
    const state = withCut(loaded(), name, 0, 4);
    const e = estimate(state.results.get(name)!.prepared, [4, 32]);
    expect(measureOf(state, name, 'error')).toBe(e.error);
    expect(measureOf(state, name, 'kept')).toBe(1 - e.error ** 2);
    expect(isEstimate(state, name, 'kept')).toBe(true);
    expect(isEstimate(state, name, 'parameters')).toBe(false);
    expect(isEstimate(state, list[1]!.name, 'kept')).toBe(false);
    expect(measureOf(state, name, 'parameters')).toBe(256 * 4 + 4 * 256 * 32 + 32 * 256);
    expect(measureOf(state, list[5]!.name, 'kept')).toBeUndefined();
  });

  it('asks for cuts set by hand as they are, and takes the answer for no rule’s', () => {
    let state = withCut(loaded(), name, 0, 4);
    const asked = requestOptions(state, [name]);
    expect(asked.ranks).toEqual({ [name]: [4, 32] });
    const before = state.results.get(name)!;
    expect(isCurrent(before.options, asked, name)).toBe(false);
    const { result: old } = before.prepared;
    const bonds = old.bonds.map((b, k) => ({ ...b, dimension: [4, 32][k]! }));
    state = reduceExplorer(state, {
      type: 'results',
      options: asked,
      results: [{ ...old, bonds, relativeError: 0.77 }],
    });
    expect(isCurrent(state.results.get(name)!.options, asked, name)).toBe(true);
    // The error is now the decomposition's own.
    expect(measureOf(state, name, 'error')).toBe(0.77);
    expect(isEstimate(state, name, 'error')).toBe(false);
    // Without the cut the rule holds again, and its result has to be asked for.
    const undone = withView(state, { cuts: {} });
    expect(ranksOf(undone, name)).toEqual([32, 32]);
    expect(isCurrent(asked, requestOptions(undone, [name]), name)).toBe(false);
  });

  it('keeps an exact spectrum that took minutes when ranks change', () => {
    const module = modules(1)[0]!;
    const made = { ...options, cores: 4 };
    const start = reduceExplorer(initialState, {
      type: 'init',
      model,
      modules: [module],
      options: made,
    });
    const exact = result(module, { ...made, exactMiddle: true });
    const known = reduceExplorer(start, { type: 'results', options: made, results: [exact] });
    const next = { ...made, value: 16 };
    const at16 = result(module, next);
    expect(at16.bonds[1]!.exactSpectrum).toBe(false);
    const bondsOf = (r: ModuleDecomposition) =>
      reduceExplorer(known, { type: 'results', options: next, results: [r] }).results.get(
        module.name,
      )!.prepared.result.bonds;
    expect(bondsOf(at16)[1]).toMatchObject({ dimension: 16, exactSpectrum: true });
    expect(bondsOf(at16)[1]!.spectrum).toBe(exact.bonds[1]!.spectrum);
    // Another matrix, or another shape, has another spectrum.
    expect(bondsOf({ ...at16, energy: at16.energy * 2 })[1]!.exactSpectrum).toBe(false);
    expect(bondsOf({ ...at16, orientation: 'in' })[1]!.exactSpectrum).toBe(false);
  });

  it('exports tables and the configuration’s ranks', () => {
    const state = withCut(loaded(), name, 0, 4);
    const rows = moduleRows(state);
    expect(rows).toHaveLength(3);
    const csv = rowsToCsv(rows).split('\r\n');
    expect(csv[1]).toContain(`${name},4096,4096,16 16 16,16 16 16,4 32,256 256,`);
    const latex = rowsToLatex(rows);
    expect(latex).toContain('model.layers.0.self\\_attn.q\\_proj');
    expect(latex.match(/\\\\/g)).toHaveLength(4);
    const { rankPattern: pattern, shapes, orientation } = rankPattern(state);
    expect(orientation).toBe('out');
    expect(pattern[name]).toEqual([4, 32]);
    expect(shapes[name]).toEqual({ rows: [16, 16, 16], cols: [16, 16, 16] });
  });
});

describe('explicit shapes', () => {
  it('are read in the usual spellings', () => {
    expect(parseFactors('8, 8,4')).toEqual([8, 8, 4]);
    expect(parseFactors(' 8×8x4 ')).toEqual([8, 8, 4]);
    for (const text of ['', '8, a', '8, 0', '2.5, 4', '-2 4'])
      expect(parseFactors(text)).toBeUndefined();
  });

  it('say what is wrong with them', () => {
    expect(shapeProblem([8, 8], [4, 4], 64, 16)).toBeUndefined();
    // 50257 = 29 x 1733 is padded to 50400.
    expect(shapeProblem([225, 224], [4, 4], 50257, 16)).toBeUndefined();
    expect(shapeProblem([8, 7], [4, 4], 64, 16)).toContain('row factors multiply to 56');
    expect(shapeProblem([8, 8], [4, 8], 64, 16)).toContain('column factors multiply to 32');
    expect(shapeProblem([8, 8], [4, 2, 2], 64, 16)).toContain('2 row factors, but 3 column');
    expect(shapeProblem([64], [16], 64, 16)).toContain('two cores');
    expect(shapeProblem(undefined, [16], 64, 16)).toContain('whole numbers');
  });

  it('stand until another number of cores is asked for', () => {
    const list = modules(1);
    const name = list[0]!.name;
    const loaded = reduceExplorer(initialState, { type: 'init', model, modules: list, options });
    const shaped = withShape(loaded, name, { rows: [64, 64], cols: [64, 64] });
    expect(shaped.options.shapes[name]).toEqual({ rows: [64, 64], cols: [64, 64] });
    expect(withOptions(shaped, { value: 4 }).options.shapes[name]).toBeDefined();
    expect(withOptions(shaped, { cores: 4 }).options.shapes).toEqual({});
  });
});

describe('message checks', () => {
  it('let every message of the explorer through and nothing else', () => {
    for (const message of [
      { type: 'ready' },
      { type: 'cancel' },
      { type: 'decompose', modules: ['a'], options },
      { type: 'exportCores', modules: ['a'], options },
      {
        type: 'useRanks',
        orientation: 'in',
        rankPattern: { a: [3] },
        shapes: { a: { rows: [2, 3], cols: [4, 5] } },
      },
      { type: 'exportText', format: 'latex', fileName: 'a', text: 'b' },
      { type: 'exportPng', fileName: 'a', bytes: new Uint8Array(1) },
    ]) {
      expect(parseExplorerViewMessage(message)).toEqual(message);
    }
    for (const raw of [
      undefined,
      { type: 'useRanks', orientation: 'out', rankPattern: { a: 3 }, shapes: {} },
      { type: 'useRanks', rankPattern: { a: [3] }, shapes: {} },
      { type: 'decompose', modules: ['a'], options: { ...options, rule: 'best' } },
      { type: 'exportText', format: 'html', fileName: 'a', text: 'b' },
    ]) {
      expect(parseExplorerViewMessage(raw)).toBeUndefined();
    }
  });

  it('refuse a formula of memory with a hole', () => {
    const good = { type: 'training', training };
    expect(parseExplorerHostMessage(good)).toBe(good);
    const bad = { ...training, fixedBytes: [1, null] };
    expect(parseExplorerHostMessage({ type: 'training', training: bad })).toBeUndefined();
  });

  it('refuse results without spectra', () => {
    const good = { type: 'results', options, results: [result(modules(1)[0]!)] };
    expect(parseExplorerHostMessage(good)).toBe(good);
    const bad = { ...good, results: [{ ...good.results[0], bonds: [{ spectrum: [1, 2] }] }] };
    expect(parseExplorerHostMessage(bad)).toBeUndefined();
  });
});
