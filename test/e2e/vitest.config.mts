import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/e2e/**/*.test.ts'],
    globalSetup: ['test/e2e/globalSetup.ts'],
    pool: 'forks',
    // One editor, one server: files follow one another.
    fileParallelism: false,
    maxWorkers: 1,
    // Against hanging; what a test waits for has limits of its own.
    testTimeout: 900_000,
    hookTimeout: 900_000,
  },
});
