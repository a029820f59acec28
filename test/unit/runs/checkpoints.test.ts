import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { fileError } from '../../../src/models/files';
import { writeFileAtomic } from '../../../src/runs/atomicFile';
import {
  checkSpace,
  listCheckpoints,
  newestGoodCheckpoint,
  rotateCheckpoints,
  saveCheckpoint,
  sweepLeftovers,
} from '../../../src/runs/checkpoints';
import { runFolder, type RunFolder } from '../../../src/runs/runFolder';

let folder: RunFolder;
beforeEach(() => {
  folder = runFolder(mkdtempSync(path.join(tmpdir(), 'dota-checkpoints-')));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder.path, { recursive: true, force: true });
});

async function save(step: number, text = `weights ${step}`): Promise<void> {
  await saveCheckpoint(folder, step, 100, async (stage) => {
    await writeFile(path.join(stage, 'a.bin'), text);
    await writeFile(path.join(stage, 'b.json'), '{}');
  });
}

const steps = async (): Promise<number[]> => (await listCheckpoints(folder)).map((c) => c.step);

describe('checkpoints', () => {
  it('are listed newest first by number and verify', async () => {
    await save(9);
    await save(10);
    expect(await steps()).toEqual([10, 9]);
    expect((await newestGoodCheckpoint(folder)).checkpoint?.step).toBe(10);
    expect(readdirSync(folder.checkpoints).sort()).toEqual(['step-10', 'step-9']);
  });

  const damages: [string, (place: string) => void][] = [
    ['a truncated file', (place) => truncateSync(path.join(place, 'a.bin'), 3)],
    ['a changed byte', (place) => writeFileSync(path.join(place, 'a.bin'), 'Weights 2')],
    ['a missing file', (place) => rmSync(path.join(place, 'b.json'))],
    ['no manifest', (place) => rmSync(path.join(place, 'manifest.json'))],
    [
      'another run’s manifest',
      (place) => {
        const file = path.join(place, 'manifest.json');
        writeFileSync(file, readFileSync(file, 'utf8').replace(/"runId": ".*?"/, '"runId": "x"'));
      },
    ],
    [
      'a file name that leads out',
      (place) => {
        const file = path.join(place, 'manifest.json');
        writeFileSync(file, readFileSync(file, 'utf8').replace('"a.bin"', '"../../x"'));
      },
    ],
  ];
  it.each(damages)('with %s are passed over', async (_what, damage) => {
    await save(1);
    await save(2);
    damage(path.join(folder.checkpoints, 'step-2'));
    const { checkpoint, passedOver } = await newestGoodCheckpoint(folder);
    expect(checkpoint?.step).toBe(1);
    expect(passedOver.map((e) => e.code)).toEqual(['run.corrupt']);
  });

  it('replace an older attempt at the same step', async () => {
    await save(5, 'old');
    await save(5, 'new');
    expect(readFileSync(path.join(folder.checkpoints, 'step-5/a.bin'), 'utf8')).toBe('new');
    expect(readdirSync(folder.checkpoints)).toEqual(['step-5']);
  });

  it('rotate: the newest and the best stay, leftovers above the last go', async () => {
    for (const step of [1, 2, 3, 4, 5, 9]) await save(step);
    await rotateCheckpoints(folder, { last: 5, best: 2, limit: 2 });
    expect(await steps()).toEqual([5, 4, 2]);
    await rotateCheckpoints(folder, { last: 5, best: undefined, limit: 1 });
    expect(await steps()).toEqual([5]);
  });

  it('leave nothing of a failed attempt, and the earlier ones as they were', async () => {
    await save(1);
    const failing = saveCheckpoint(folder, 2, 100, async (stage) => {
      await writeFile(path.join(stage, 'a.bin'), 'half');
      throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
    });
    await expect(failing).rejects.toMatchObject({ code: 'file.diskFull' });
    expect(readdirSync(folder.checkpoints)).toEqual(['step-1']);
    expect((await newestGoodCheckpoint(folder)).checkpoint?.step).toBe(1);
  });

  it('tell to resume the run, whoever met the full disk', async () => {
    const failing = saveCheckpoint(folder, 2, 100, () =>
      Promise.reject(fileError(Object.assign(new Error('full'), { code: 'ENOSPC' }), 'a.bin')),
    );
    await expect(failing).rejects.toMatchObject({
      code: 'file.diskFull',
      next: expect.stringContaining('resume') as string,
    });
  });

  it('ask the disk for room first', async () => {
    await expect(checkSpace(folder.path, 2 ** 60)).rejects.toMatchObject({ code: 'file.diskFull' });
    await checkSpace(folder.path, 1);
  });

  it('sweep what a killed trainer left half written', async () => {
    await save(1);
    mkdirSync(path.join(folder.checkpoints, '.stage-2-abcd'));
    writeFileSync(path.join(folder.path, 'run.json.0123.tmp'), 'half');
    await sweepLeftovers(folder);
    expect(readdirSync(folder.checkpoints)).toEqual(['step-1']);
    expect(readdirSync(folder.path)).toEqual(['checkpoints']);
  });
});

describe('writeFileAtomic', () => {
  it('keeps the old file whole when the disk refuses in the middle', async () => {
    const file = path.join(folder.path, 'run.json');
    await writeFileAtomic(file, 'old');
    const handle = await open(file, 'r');
    const prototype = Object.getPrototypeOf(handle) as { sync: () => Promise<void> };
    await handle.close();
    // The error at the boundary to the system; the test below has a really full disk where it can.
    vi.spyOn(prototype, 'sync').mockRejectedValue(
      Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }),
    );
    await expect(writeFileAtomic(file, 'new')).rejects.toMatchObject({ code: 'file.diskFull' });
    expect(readFileSync(file, 'utf8')).toBe('old');
    expect(readdirSync(folder.path)).toEqual(['run.json']);
  });

  const mount = mountSmallDisk();
  it.runIf(mount !== undefined)('keeps the old file whole on a really full disk', async () => {
    const disk = mount!();
    try {
      const file = path.join(disk, 'run.json');
      await writeFileAtomic(file, 'old');
      const big = new Uint8Array(2 << 20);
      await expect(writeFileAtomic(file, big)).rejects.toMatchObject({ code: 'file.diskFull' });
      expect(readFileSync(file, 'utf8')).toBe('old');
      expect(readdirSync(disk)).toEqual(['run.json']);
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});

/** A disk of 1 MB, where this user may mount one; the injected error above stands in elsewhere. */
function mountSmallDisk(): (() => string) | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined;
  const make = (): string => {
    const disk = mkdtempSync(path.join(tmpdir(), 'dota-disk-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk], { stdio: 'ignore' });
    return disk;
  };
  try {
    const disk = make();
    execFileSync('umount', [disk]);
    rmSync(disk, { recursive: true });
    return existsSync('/proc/mounts') ? make : undefined;
  } catch {
    return undefined;
  }
}
