import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

it('memory is flat over 500 steps', () => {
  const output = execFileSync(
    process.execPath,
    ['scripts/run-ts.mjs', 'test/full/engine/memoryChild.ts'],
    { encoding: 'utf8' },
  );
  const resident = JSON.parse(output) as number[];
  // The first hundred steps fill caches; after them a leak of one activation a step (128 KB) would
  // show as 64 MB. Allocators move within some MB.
  expect(resident.at(-1)! - resident[0]!).toBeLessThan(20);
});
