/** What a run says of a GPU that it does not use, and what one that was asked for and refused costs. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runConfigSchema } from '../../../src/config/runConfig';
import type { RunManifest } from '../../../src/protocol/runFiles';
import { writeSyntheticRun } from '../../support/syntheticRun';
import { runCli, type CliResult } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dota-device-'));
  await writeTinyWorkspace(folder, { training: { max_steps: 2 } });
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A machine on which no GPU can be opened, whatever it has. */
function withoutGpu(args: string[]): Promise<CliResult> {
  const broken = path.join(folder, 'broken.json');
  writeFileSync(broken, JSON.stringify({ ICD: { library_path: 'libno_such_driver.so.0' } }));
  return runCli(args, folder, { VK_ICD_FILENAMES: broken, VK_DRIVER_FILES: broken });
}
const runsFolder = (): string => path.join(folder, '.dota', 'runs');
const runs = (): string[] => {
  mkdirSync(runsFolder(), { recursive: true });
  return readdirSync(runsFolder());
};
const manifestOf = (run: string): RunManifest =>
  JSON.parse(readFileSync(path.join(run, 'run.json'), 'utf8')) as RunManifest;

// Elsewhere a driver cannot be taken away by a variable.
describe.runIf(process.platform === 'linux')('on a machine without a GPU that can be used', () => {
  it('a run takes the processor and says so, with the reason, wherever it is looked at', async () => {
    const result = await withoutGpu(['train', 'tiny.dota.json', '--device', 'auto', '--json']);
    expect(result.code, result.stderr).toBe(0);
    const run = String(result.json?.run);
    const { device } = manifestOf(run);
    expect(device).toMatchObject({ kind: 'cpu' });
    expect(device?.threads).toBeGreaterThan(0);
    expect(device?.reason).toMatch(/no GPU that WebGPU can use/);
    const line = `; the GPU is not used: ${device?.reason ?? ''}`;
    const lines = result.stderr.split('\n');
    const said = lines.findIndex((text) => text.startsWith('CPU (') && text.endsWith(line));
    // The minute that a broken driver can take has its name.
    expect(lines.indexOf('asking the GPU')).toBeGreaterThanOrEqual(0);
    expect(lines.indexOf('asking the GPU')).toBeLessThan(said);
    expect(readFileSync(path.join(run, 'log.txt'), 'utf8')).toContain(line);
    const shown = await runCli(['runs', 'show', run], folder);
    expect(shown.stdout).toContain(line);
  });

  it('says nothing of a GPU where the processor was asked for', async () => {
    const result = await withoutGpu(['train', 'tiny.dota.json', '--device', 'cpu', '--json']);
    expect(result.code, result.stderr).toBe(0);
    expect(manifestOf(String(result.json?.run)).device).not.toHaveProperty('reason');
    expect(result.stderr).toMatch(/^CPU \(.*\)$/m);
    expect(result.stderr).not.toContain('GPU is');
    expect(result.stderr).not.toContain('asking');
  });

  it.each([[[]], [['--detach']]])(
    'a run that asks for the GPU is refused and leaves nothing %j',
    async (more) => {
      const before = runs();
      const args = ['train', 'tiny.dota.json', '--device', 'webgpu', '--json', ...more];
      const { code, json, stderr } = await withoutGpu(args);
      expect(code).toBe(65);
      expect(json?.error).toMatchObject({ code: 'device.unavailable' });
      expect(stderr).toContain('Asking the GPU …');
      expect(runs()).toEqual(before);
    },
  );

  it('a run that is resumed without its GPU stays as it was', async () => {
    const config = runConfigSchema.parse({
      ...(JSON.parse(readFileSync(path.join(folder, 'tiny.dota.json'), 'utf8')) as object),
      device: 'webgpu',
    });
    const manifest: Partial<RunManifest> = { config, configDirectory: folder };
    const id = '20260102-030405-ab12';
    const run = writeSyntheticRun(runsFolder(), { id, steps: 3, state: 'stopped', manifest });
    const content = (): string[] =>
      ['run.json', 'metrics.jsonl', 'log.txt'].map((name) =>
        readFileSync(path.join(run, name), 'utf8'),
      );
    const before = content();
    const { code, json } = await withoutGpu(['train', '--resume', run, '--json']);
    expect(code).toBe(65);
    expect(json?.error).toMatchObject({ code: 'device.unavailable' });
    expect(content()).toEqual(before);
  });
});
