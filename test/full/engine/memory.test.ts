import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

it('memory is flat over 500 steps', () => {
  const output = execFileSync(
    process.execPath,
    ['scripts/run-ts.mjs', 'test/full/engine/memoryChild.ts'],
    // V8's young generation grows to 48 MB within the first thousand steps, and shrinks again when it
    // pleases: held small, what is left is what the engine itself holds.
    { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '--max-semi-space-size=1' } },
  );
  const resident = JSON.parse(output) as number[];
  // The first hundred steps fill caches; after them a leak of one activation a step (128 KB) would
  // show as 64 MB. Allocators move within some MB (measured: 1).
  expect(resident.at(-1)! - resident[0]!).toBeLessThan(5);
});
