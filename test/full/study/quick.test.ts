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

const orders = ['orders-arithmetic', 'orders-full', 'orders-lists'];
const all = ['quick', ...orders];

interface Run {
  state: string;
  /** What the study calls it: stage, method, task, rate and seed. */
  name: string;
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

interface Decided {
  claim: string;
  task: string;
  sign: number;
}

/** The orders in the report's claims that it calls decided, with the sign of the difference. */
function decided(): Decided[] {
  const text = readFileSync('docs/study.md', 'utf8');
  const found = text.split('\n').flatMap((line) => {
    const [, claim = '', task = '', difference = '', , verdict = ''] = line
      .split('|')
      .map((cell) => cell.trim());
    const holds = /^(holds|does not hold: the reverse does)$/.test(verdict);
    return holds ? [{ claim, task, sign: difference.startsWith('-') ? -1 : 1 }] : [];
  });
  if (found.length === 0) throw new Error('the report decides nothing');
  return found;
}

describe('the quick study', () => {
  beforeAll(() => {
    for (const name of all) {
      rmSync(path.join(cache, name), { recursive: true, force: true });
    }
    expect(start()).toBe(0);
  }, 15 * 60_000);

  it(
    'is carried out, and all of it found done at a second start',
    () => {
      const first = all.map(runs);
      expect(first.map(({ size }) => size)).toEqual(
        all.map((name) => Object.keys(study(name).methods).length),
      );
      for (const run of first.flatMap((found) => [...found.values()])) {
        expect(run.state, run.name).toBe('finished');
      }
      expect(start()).toBe(0);
      expect(all.map((name) => [...runs(name).keys()])).toEqual(
        first.map((found) => [...found.keys()]),
      );
    },
    5 * 60_000,
  );

  it('has the orders that the report states', () => {
    const found = orders.flatMap((name) => [...runs(name).values()]);
    const lossOf = (method: string, task: string): number => {
      const [run, ...others] = found.filter(({ name }) => name.includes(`${method}, ${task}, `));
      expect([run?.name, others.length]).toEqual([expect.any(String), 0]);
      return run?.best.validationLoss ?? NaN;
    };
    // Differences within a margin are no orders.
    const claims = study('sample').claims.filter(({ within }) => within === undefined);
    const stated = decided().flatMap((one) =>
      claims.filter(({ claim }) => claim === one.claim).map((known) => ({ ...known, ...one })),
    );
    expect(stated.length).toBeGreaterThanOrEqual(4);
    // On lists a method's loss falls at once, some hundreds of steps in, and roundings move that: since
    // attention's products read transposed operands, DoRA's run of this seed, the same to four digits until step
    // 100, has not fallen by step 400 (0.061; 0.019 in the report), and "DoTA beats DoRA" fails here. To be mended
    // by longer runs in the study, not here.
    for (const { claim, task, lower, higher, sign } of stated) {
      const difference = lossOf(lower, task) - lossOf(higher, task);
      expect(Math.sign(difference), `${claim}, ${task}: ${difference}`).toBe(sign);
    }
  });
});
