import { execFileSync } from 'node:child_process';

/** Tests that spawn the trainer run the real bundles, so build them once before anything else. */
export function setup(): void {
  // For judges that load onnxruntime themselves; the product's own processes see to it themselves.
  process.env['ORT_DISABLE_TELEMETRY'] = '1';
  execFileSync(process.execPath, ['esbuild.mjs'], { stdio: 'inherit' });
}
