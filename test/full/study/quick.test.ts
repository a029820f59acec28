/** `npm run study -- --quick`: every method of the study, on the sample, through the whole machinery. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { parseStudy } from '../../../src/study/parseStudy';

it(
  'carries the quick study out, and finds all of it done at a second start',
  () => {
    rmSync('.cache/study/quick', { recursive: true, force: true });
    const start = (): number | null =>
      spawnSync(process.execPath, ['scripts/study.mjs', '--quick'], { stdio: 'inherit' }).status;
    expect(start()).toBe(0);
    const file = 'scripts/study/quick.dota-study.json';
    const { methods } = parseStudy(readFileSync(file, 'utf8'), file);
    const runs = (): string[] =>
      readdirSync('.cache/study/quick/runs').filter((name) => !name.startsWith('.'));
    const first = runs();
    expect(first).toHaveLength(Object.keys(methods).length);
    for (const id of first) {
      const run = JSON.parse(
        readFileSync(path.join('.cache/study/quick/runs', id, 'run.json'), 'utf8'),
      ) as { state: string; name: string };
      expect(run.state, run.name).toBe('finished');
    }
    expect(start()).toBe(0);
    expect(runs()).toEqual(first);
  },
  8 * 60_000,
);
