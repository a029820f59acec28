import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/unit/**/*.test.ts'],
    globalSetup: ['test/globalSetup.ts'],
    // onnxruntime-node is a native addon: one process a file, two at a time on two cores.
    pool: 'forks',
    maxWorkers: 2,
    // Against hanging alone: the machine may be slow, and have other work.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
