import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RunLock } from '../../../src/runs/lock';
import { readManifest } from '../../../src/runs/manifest';
import { randomHex } from '../../../src/runs/ownerRecord';
import { isRunId, newRunId, runFolderById, type RunFolder } from '../../../src/runs/runFolder';
import {
  createRun,
  deleteRun,
  findRun,
  listRuns,
  readNotes,
  renameRun,
  runSize,
  writeNotes,
} from '../../../src/runs/runStore';
import { crc32c, TensorBoardWriter } from '../../../src/runs/tensorboard';

let place: string;
let root: string;
beforeEach(() => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-store-'));
  root = path.join(place, '.dota', 'runs');
});
afterEach(() => {
  rmSync(place, { recursive: true, force: true });
});

const versions = { dota: '0', node: '20', onnxruntime: '1', platform: 'p' };
function create(name = 'a run'): Promise<RunFolder> {
  return createRun(root, { name, config: { method: 'dota' }, configDirectory: place, versions });
}

describe('run store', () => {
  it('creates runs that git ignores, lists them newest first, and reads them back', async () => {
    const first = await create('first');
    const second = await create('second');
    expect(readFileSync(path.join(place, '.dota/.gitignore'), 'utf8')).toBe('*\n');
    const listed = await listRuns(root);
    expect(listed.map((run) => run.folder.id).sort()).toEqual([first.id, second.id].sort());
    expect(await readManifest(first)).toMatchObject({ name: 'first', state: 'created' });
    expect(await listRuns(path.join(place, 'nowhere'))).toEqual([]);
  });

  it('leaves a .gitignore that the user edited', async () => {
    mkdirSync(path.join(place, '.dota'));
    writeFileSync(path.join(place, '.dota/.gitignore'), 'mine\n');
    await create();
    expect(readFileSync(path.join(place, '.dota/.gitignore'), 'utf8')).toBe('mine\n');
  });

  it('shows a damaged run beside the others, and passes over what is no run', async () => {
    const good = await create();
    const bad = await create();
    writeFileSync(bad.manifest, '{"state":"on fire"}');
    mkdirSync(path.join(root, 'not-a-run'));
    mkdirSync(path.join(root, '.hidden'));
    const listed = await listRuns(root);
    expect(listed.length).toBe(2);
    const problem = listed.find((run) => 'problem' in run)!;
    expect(problem.folder.id).toBe(bad.id);
    expect(listed.some((run) => run.folder.id === good.id && 'manifest' in run)).toBe(true);
  });

  it('takes the folder’s name for the identity, whatever the manifest claims', async () => {
    const run = await create();
    const text = readFileSync(run.manifest, 'utf8');
    writeFileSync(run.manifest, text.replace(`"id": "${run.id}"`, '"id": "../../elsewhere"'));
    expect((await readManifest(run)).id).toBe(run.id);
  });

  it.each(['..', '.', '../x', 'a/b', 'a\\b', '', '.hidden', 'x'.repeat(101), 'a b', 'CON:'])(
    'refuses the id %j',
    async (id) => {
      expect(isRunId(id)).toBe(false);
      expect(() => runFolderById(root, id)).toThrow();
      await expect(deleteRun(root, id)).rejects.toMatchObject({ code: 'usage' });
    },
  );

  it('makes ids that sort by age and are valid', () => {
    const early = newRunId(new Date(2026, 0, 2, 3, 4, 5));
    expect(early).toMatch(/^20260102-030405-[0-9a-f]{4}$/);
    expect(isRunId(early)).toBe(true);
    expect(newRunId(new Date(2026, 0, 2, 3, 4, 6)) > early).toBe(true);
  });

  it('renames and keeps notes', async () => {
    const run = await create();
    await renameRun(run, '  better ');
    expect((await readManifest(run)).name).toBe('better');
    await expect(renameRun(run, ' ')).rejects.toMatchObject({ code: 'usage' });
    expect(await readNotes(run)).toBe('');
    await writeNotes(run, 'lr too high');
    expect(await readNotes(run)).toBe('lr too high');
  });

  it('finds a run by id and by folder', async () => {
    const run = await create();
    expect((await findRun(root, run.id)).path).toBe(run.path);
    expect((await findRun('elsewhere', run.path)).path).toBe(run.path);
    await expect(findRun(root, 'nope')).rejects.toMatchObject({ code: 'file.missing' });
  });

  it('deletes a run and says what that freed, but not one that a trainer owns', async () => {
    const run = await create();
    writeFileSync(path.join(run.checkpoints, 'big'), new Uint8Array(5000));
    const size = await runSize(run);
    expect(size).toBeGreaterThan(5000);
    const lock = await RunLock.acquire(run, '', randomHex(32));
    await expect(deleteRun(root, run.id)).rejects.toMatchObject({ code: 'run.locked' });
    await lock.release();
    expect(await deleteRun(root, run.id)).toEqual({ freedBytes: size });
    expect(existsSync(run.path)).toBe(false);
  });

  it('does not follow a link among the runs', async () => {
    const outside = path.join(place, 'outside');
    mkdirSync(outside);
    writeFileSync(path.join(outside, 'run.json'), '{}');
    await create();
    symlinkSync(outside, path.join(root, 'linked'));
    expect((await listRuns(root)).some((run) => run.folder.id === 'linked')).toBe(false);
    await expect(deleteRun(root, 'linked')).rejects.toMatchObject({ code: 'usage' });
    expect(existsSync(path.join(outside, 'run.json'))).toBe(true);
  });
});

describe('TensorBoard events', () => {
  it('have the checksums of CRC-32C', () => {
    // The check value of the algorithm's catalogue entry.
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  it('are framed records that decode to what was written', () => {
    const writer = new TensorBoardWriter(place, 1_700_000_000_000);
    writer.scalars(300, { 'train/loss': 1.5 }, 1_700_000_001_500);
    writer.close();
    const name = readdirSync(place).find((n) => n.startsWith('events.out.tfevents.1700000000.'))!;
    const bytes = readFileSync(path.join(place, name));
    const records: Buffer[] = [];
    for (let at = 0; at < bytes.length;) {
      const length = Number(bytes.readBigUInt64LE(at));
      const mask = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
      expect(bytes.readUInt32LE(at + 8)).toBe(mask(crc32c(bytes.subarray(at, at + 8))));
      const data = bytes.subarray(at + 12, at + 12 + length);
      expect(bytes.readUInt32LE(at + 12 + length)).toBe(mask(crc32c(data)));
      records.push(data);
      at += 16 + length;
    }
    expect(records.length).toBe(2);
    expect(records[0]!.includes('brain.Event:2')).toBe(true);
    const event = records[1]!;
    expect(event.readDoubleLE(1)).toBe(1_700_000_001.5);
    // Field 2 as a varint: 300 = 0xAC 0x02.
    expect([...event.subarray(9, 12)]).toEqual([0x10, 0xac, 0x02]);
    expect(event.includes('train/loss')).toBe(true);
    expect(event.readFloatLE(event.length - 4)).toBe(1.5);
  });
});
