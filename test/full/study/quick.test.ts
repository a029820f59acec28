/**
 * `npm run study -- --quick`: every method of the study, on the sample, through the whole machinery; and the
 * orders that the committed report states, on one seed.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseStudy } from '../../../src/study/parseStudy';
import type { StudyConfig } from '../../../src/study/studyConfig';

const cache = '.cache/study';
const start = (): number | null =>
  spawnSync(process.execPath, ['scripts/study.mjs', '--quick'], { stdio: 'inherit' }).status;

function study(name: string): StudyConfig {
  const file = `scripts/study/${name}.dota-study.json`;
  return parseStudy(readFileSync(file, 'utf8'), file);
}

interface Run {
  state: string;
  config: { method: string; adapter: object };
  best: { validationLoss: number };
}

function runs(name: string): Map<string, Run> {
  const folder = path.join(cache, name, 'runs');
  const ids = readdirSync(folder).filter((id) => !id.startsWith('.'));
  return new Map(
    ids.map((id) => [
      id,
      JSON.parse(readFileSync(path.join(folder, id, 'run.json'), 'utf8')) as Run,
    ]),
  );
}

/** The claims of the report that it calls decided, with the sign of the difference. */
function decided(task: string): { claim: string; sign: number }[] {
  const text = readFileSync('docs/study.md', 'utf8');
  const found = text.split('\n').flatMap((line) => {
    const [, claim = '', of = '', difference = '', , verdict = ''] = line
      .split('|')
      .map((cell) => cell.trim());
    const holds = /^(holds|does not hold: the reverse does)$/.test(verdict);
    return of === task && holds ? [{ claim, sign: difference.startsWith('-') ? -1 : 1 }] : [];
  });
  if (found.length === 0) throw new Error('the report decides nothing');
  return found;
}

describe('the quick study', () => {
  beforeAll(() => {
    for (const name of ['quick', 'orders']) {
      rmSync(path.join(cache, name), { recursive: true, force: true });
    }
    expect(start()).toBe(0);
  }, 15 * 60_000);

  it(
    'is carried out, and all of it found done at a second start',
    () => {
      const first = ['quick', 'orders'].map(runs);
      const methods = Object.keys(study('quick').methods).length;
      const { methods: few, learning_rates: rates } = study('orders');
      const counts = [methods, Object.keys(few).length * rates.length];
      expect(first.map(({ size }) => size)).toEqual(counts);
      for (const run of first.flatMap((all) => [...all.values()])) {
        expect(run.state).toBe('finished');
      }
      expect(start()).toBe(0);
      expect(['quick', 'orders'].map((name) => [...runs(name).keys()])).toEqual(
        first.map((all) => [...all.keys()]),
      );
    },
    5 * 60_000,
  );

  it('has the orders that the report states of arithmetic', () => {
    const { methods, claims } = study('orders');
    const own = decided('arithmetic').flatMap(({ claim, sign }) =>
      claims.filter((known) => known.claim === claim).map((known) => ({ ...known, sign })),
    );
    // All that the report decides of these four methods without a margin.
    expect(own.length).toBeGreaterThanOrEqual(3);
    const lossOf = (name: string): number => {
      const losses = [...runs('orders').values()]
        .filter(({ config }) => config.method === methods[name]?.method)
        .map(({ best }) => best.validationLoss);
      expect(losses.length, name).toBe(2);
      return Math.min(...losses);
    };
    for (const { claim, lower, higher, sign } of own) {
      expect(Math.sign(lossOf(lower) - lossOf(higher)), claim).toBe(sign);
    }
  });
});
