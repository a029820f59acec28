/** Runs a TypeScript script of the tests on a device and parses what it prints. */
import { spawn } from 'node:child_process';
import { softwareGpuEnvironment } from '../../../../scripts/software-gpu.mjs';

export async function runOn<T>(
  device: 'cpu' | 'webgpu',
  script: string,
  args: readonly string[] = [],
): Promise<T> {
  const child = spawn(process.execPath, ['scripts/run-ts.mjs', script, device, ...args], {
    env: { ...process.env, ...(device === 'webgpu' && softwareGpuEnvironment()) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`${script} on ${device} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}
