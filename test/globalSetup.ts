import { execFileSync } from 'node:child_process';

/** Tests that spawn the trainer run the real bundles, so build them once before anything else. */
export function setup(): void {
  execFileSync(process.execPath, ['esbuild.mjs'], { stdio: 'inherit' });
}
