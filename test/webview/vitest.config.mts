import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/webview/**/*.test.ts'],
    globalSetup: ['test/globalSetup.ts'],
    pool: 'forks',
    // One browser at a time on two cores.
    maxWorkers: 1,
    // Against hanging alone: the machine may be slow, and have other work.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
