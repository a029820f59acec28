/** What a device said is kept per driver and runtime: who asks again starts no process. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type DeviceKind,
  knownProbe,
  type ProbeAnswer,
  probeCached,
} from '../../../src/trainer/training/probeDevices';

describe('a probe that was answered', () => {
  let place: string;
  let log: string;
  beforeEach(() => {
    place = mkdtempSync(path.join(tmpdir(), 'dota-choose-'));
    log = path.join(place, 'asked');
    writeFileSync(log, '');
    vi.stubEnv('TMPDIR', place);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(place, { recursive: true, force: true });
  });

  /** Probes in a process that notes that it was asked, and says this. */
  function ask(kind: DeviceKind, key: string, says: object): Promise<ProbeAnswer> {
    const source =
      `require('fs').appendFileSync(${JSON.stringify(log)}, 'x'); ` +
      `console.log(${JSON.stringify(JSON.stringify(says))})`;
    return probeCached(kind, key, { command: [process.execPath, '-e', source] });
  }
  /** Files that keep answers, below the temporary folder. */
  const notes = (): string[] =>
    readdirSync(place, { recursive: true, encoding: 'utf8' }).filter((name) =>
      path.basename(name).startsWith('probe-'),
    );
  const asked = (): number => readFileSync(log, 'utf8').length;
  const good = { gflops: 50, error: 1e-6, bufferMb: 0 };

  it('is not asked again on the same driver and runtime', async () => {
    const first = await ask('cpu', '1.30.0', good);
    const second = await ask('cpu', '1.30.0', { ...good, gflops: 1 });
    expect(first).toMatchObject({ ok: true, gflops: 50 });
    expect(second).toMatchObject({ ok: true, gflops: 50 });
    expect(asked()).toBe(1);
  });

  it('is asked again by another runtime, for another device and on another driver', async () => {
    await ask('cpu', '1.30.0', good);
    await ask('cpu', '1.31.0', good);
    await ask('webgpu', '1.30.0', good);
    expect(asked()).toBe(3);
    const manifest = path.join(place, 'driver.json');
    writeFileSync(manifest, '{"ICD": {"library_path": "libnew.so"}}');
    vi.stubEnv('VK_ICD_FILENAMES', manifest);
    vi.stubEnv('VK_DRIVER_FILES', manifest);
    await ask('webgpu', '1.30.0', good);
    expect(asked()).toBe(process.platform === 'linux' ? 4 : 3);
  });

  it('is asked again after a refusal: what it complained of may have been repaired', async () => {
    expect(await ask('cpu', '1.30.0', { error: { message: 'broken' } })).toMatchObject({
      ok: false,
    });
    expect(notes()).toEqual([]);
    expect(await ask('cpu', '1.30.0', good)).toMatchObject({ ok: true });
    expect(asked()).toBe(2);
  });

  it('is asked again where the note of it is damaged', async () => {
    await ask('cpu', '1.30.0', good);
    const [note] = notes();
    // Whole, of a version that measured the rate in another way.
    const earlier = JSON.stringify({ version: 1, kind: 'cpu', ok: true, software: false, ...good });
    for (const damage of [
      '{"version": 1, "kind": "cpu", "gflops": "fa',
      '{"version": 0}',
      earlier,
      '',
    ]) {
      writeFileSync(path.join(place, note ?? 'none'), damage);
      const before = asked();
      expect(await knownProbe('cpu', '1.30.0')).toBeUndefined();
      expect(await ask('cpu', '1.30.0', { ...good, gflops: 7 })).toMatchObject({ gflops: 7 });
      expect(asked()).toBe(before + 1);
      // And the note is good again, in its old place.
      expect(await ask('cpu', '1.30.0', good)).toMatchObject({ gflops: 7 });
      expect(asked()).toBe(before + 1);
      expect(notes()).toEqual([note]);
    }
  });

  it('is looked up without asking', async () => {
    expect(await knownProbe('webgpu', '1.30.0')).toBeUndefined();
    expect(asked()).toBe(0);
    await ask('webgpu', '1.30.0', { ...good, bufferMb: 256 });
    expect(await knownProbe('webgpu', '1.30.0')).toMatchObject({ ok: true, bufferMb: 256 });
    expect(await knownProbe('cpu', '1.30.0')).toBeUndefined();
    expect(asked()).toBe(1);
  });
});
