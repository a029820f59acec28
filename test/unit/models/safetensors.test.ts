import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openModelWeights } from '../../../src/models/safetensors/modelWeights';
import { SafetensorsFile } from '../../../src/models/safetensors/reader';
import { writeSafetensors, type TensorToWrite } from '../../../src/models/safetensors/writer';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'dota-safetensors-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let counter = 0;
const newFile = (): string => path.join(folder, `t${counter++}.safetensors`);
async function newFolder(): Promise<string> {
  const made = path.join(folder, `f${counter++}`);
  await mkdir(made);
  return made;
}

const f32 = (name: string, shape: number[], data: number[]): TensorToWrite => ({
  name,
  dtype: 'F32',
  shape,
  data: Float32Array.from(data),
});

/** A file with this header text and this many data bytes. */
async function rawFile(header: string | Uint8Array, dataBytes: number): Promise<string> {
  const json = typeof header === 'string' ? Buffer.from(header) : header;
  const bytes = Buffer.alloc(8 + json.length + dataBytes);
  bytes.writeBigUInt64LE(BigInt(json.length));
  bytes.set(json, 8);
  const file = newFile();
  await writeFile(file, bytes);
  return file;
}

const entry = (begin: number, end: number, shape = `[${(end - begin) / 4}]`): string =>
  `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;

describe('writer and reader', () => {
  it('returns every type, shape and the metadata as written', async () => {
    const file = newFile();
    const tensors: TensorToWrite[] = [
      f32('a', [2, 3], [1, 2, 3, 4, 5, 6]),
      { name: 'b', dtype: 'BF16', shape: [3], data: Uint16Array.of(1, 2, 65535) },
      { name: 'c', dtype: 'F64', shape: [1], data: Float64Array.of(Math.PI) },
      { name: 'd', dtype: 'I64', shape: [2], data: BigInt64Array.of(-1n, 2n ** 60n) },
      { name: 'e', dtype: 'I32', shape: [1], data: Int32Array.of(-7) },
      { name: 'f', dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) },
      { name: 'empty', dtype: 'F32', shape: [0, 4], data: new Float32Array(0) },
      {
        name: '__proto__',
        dtype: 'F16',
        shape: [],
        data: () => Promise.resolve(Uint16Array.of(9)),
      },
    ];
    await writeSafetensors(file, tensors, { format: 'pt' });
    const source = await SafetensorsFile.open(file);
    expect([...source.names].sort()).toEqual(tensors.map((t) => t.name).sort());
    expect(source.metadata.get('format')).toBe('pt');
    for (const tensor of tensors) {
      const read = await source.read(tensor.name);
      const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
      expect(read).toEqual({ dtype: tensor.dtype, shape: tensor.shape, data });
    }
    await source.close();
  });

  it('gives equal bytes whatever the order of the tensors', async () => {
    const [one, two] = [newFile(), newFile()];
    const tensors = [f32('x', [1], [1]), f32('y', [1], [2])];
    await writeSafetensors(one, tensors);
    await writeSafetensors(two, [...tensors].reverse());
    expect(await readFile(one)).toEqual(await readFile(two));
  });

  it('leaves the old file and no temporary when a tensor cannot be produced', async () => {
    const target = await newFolder();
    const file = path.join(target, 'm.safetensors');
    await writeSafetensors(file, [f32('x', [1], [1])]);
    const before = await readFile(file);
    const failing: TensorToWrite = {
      name: 'x',
      dtype: 'F32',
      shape: [1],
      data: () => Promise.reject(new Error('lost')),
    };
    await expect(writeSafetensors(file, [failing])).rejects.toThrow('lost');
    expect(await readFile(file)).toEqual(before);
    expect(await readdir(target)).toEqual(['m.safetensors']);
  });

  it('reports a full disk by code and removes the temporary', async () => {
    const target = await newFolder();
    const full: TensorToWrite = {
      name: 'x',
      dtype: 'F32',
      shape: [1],
      data: () => Promise.reject(Object.assign(new Error('write'), { code: 'ENOSPC' })),
    };
    await expect(
      writeSafetensors(path.join(target, 'm.safetensors'), [full]),
    ).rejects.toMatchObject({ code: 'file.diskFull' });
    expect(await readdir(target)).toEqual([]);
  });
});

describe('a file from elsewhere', () => {
  const bad: [string, string | Uint8Array, number, RegExp][] = [
    ['header is not JSON', '{"a":', 0, /Not valid JSON/],
    ['header is an array', '[]', 0, /not a JSON object/],
    ['header starts with a blank', ' {}', 0, /not a JSON object/],
    ['header is not UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d), 0, /UTF-8/],
    ['duplicate name', `{"a":${entry(0, 4)},"a":${entry(0, 4)}}`, 4, /occurs twice/],
    [
      'duplicate name in two spellings',
      `{"a":${entry(0, 4)},"\\u0061":${entry(4, 8)}}`,
      8,
      /twice/,
    ],
    ['overlap', `{"a":${entry(0, 8)},"b":${entry(4, 12)}}`, 12, /overlaps/],
    ['gap', `{"a":${entry(0, 4)},"b":${entry(8, 12)}}`, 12, /gap/],
    ['first tensor not at 0', `{"a":${entry(4, 8)}}`, 8, /gap/],
    ['truncated data', `{"a":${entry(0, 8)}}`, 4, /truncated/],
    ['bytes after the last tensor', `{"a":${entry(0, 4)}}`, 8, /follow the last/],
    ['end before begin', `{"a":${entry(4, 0, '[1]')}}`, 4, /data_offsets/],
    ['size and shape disagree', `{"a":${entry(0, 4, '[2]')}}`, 4, /takes 4 bytes/],
    [
      'shape overflow hidden by a 0',
      `{"a":${entry(0, 0, '[9007199254740991,9,0]')}}`,
      0,
      /overflow/,
    ],
    ['negative dimension', `{"a":${entry(0, 4, '[-1]')}}`, 4, /plain integer/],
    ['1.0 as an integer', `{"a":${entry(0, 4, '[1.0]')}}`, 4, /plain integer/],
    ['1e0 as an integer', `{"a":${entry(0, 4, '[1e0]')}}`, 4, /plain integer/],
    ['rank 9', `{"a":${entry(0, 4, '[1,1,1,1,1,1,1,1,1]')}}`, 4, /shape/],
    ['lone surrogate in a name', `{"\\ud800":${entry(0, 4)}}`, 4, /Unicode/],
    [
      'unknown key',
      '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":0}}',
      0,
      /unknown key/,
    ],
    ['metadata that is no string', '{"__metadata__":{"a":1}}', 0, /non-string/],
    ['deep nesting', `{"a":${'['.repeat(100)}`, 0, /Nested deeper/],
  ];
  it.each(bad)('%s is refused with the file named', async (_name, header, dataBytes, message) => {
    const file = await rawFile(header, dataBytes);
    const error: unknown = await SafetensorsFile.open(file).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'file.malformed', where: file });
    expect((error as Error).message).toMatch(message);
  });

  it('with a sub-byte or unknown element type is refused with the supported types', async () => {
    const file = await rawFile('{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', 1);
    await expect(SafetensorsFile.open(file)).rejects.toMatchObject({
      code: 'model.unsupported',
      next: expect.stringContaining('BF16') as unknown,
    });
  });

  it('that claims a huge header, or is shorter than its header, is refused without allocating', async () => {
    for (const length of [2n ** 63n, 33n * 1024n * 1024n, 100n]) {
      const bytes = Buffer.alloc(16);
      bytes.writeBigUInt64LE(length);
      const file = newFile();
      await writeFile(file, bytes);
      await expect(SafetensorsFile.open(file)).rejects.toMatchObject({ code: 'file.malformed' });
    }
  });

  it('cut at any length is refused', async () => {
    const whole = newFile();
    await writeSafetensors(whole, [f32('a', [2], [1, 2])]);
    const { length } = await readFile(whole);
    for (let size = 0; size < length; size++) {
      const file = newFile();
      await writeFile(file, (await readFile(whole)).subarray(0, size));
      await expect(SafetensorsFile.open(file)).rejects.toMatchObject({ code: 'file.malformed' });
    }
  });

  it('that shrinks after it was opened is reported on read', async () => {
    const file = newFile();
    await writeSafetensors(file, [f32('a', [2], [1, 2])]);
    const source = await SafetensorsFile.open(file);
    await truncate(file, (await readFile(file)).length - 1);
    await expect(source.read('a')).rejects.toMatchObject({ code: 'file.malformed' });
    await source.close();
  });

  it('that does not exist is missing', async () => {
    await expect(SafetensorsFile.open(newFile())).rejects.toMatchObject({ code: 'file.missing' });
  });
});

/** A model folder of two shards, `a` in the first and `b` in the second. */
async function sharded(weightMap: Record<string, unknown>): Promise<string> {
  const made = await newFolder();
  await writeSafetensors(path.join(made, 'm-1.safetensors'), [f32('a', [1], [1])]);
  await writeSafetensors(path.join(made, 'm-2.safetensors'), [f32('b', [1], [2])]);
  const index = JSON.stringify({ metadata: {}, weight_map: weightMap });
  await writeFile(path.join(made, 'model.safetensors.index.json'), index);
  return made;
}

describe('sharded weights', () => {
  it('are read through the index', async () => {
    const source = await openModelWeights(
      await sharded({ a: 'm-1.safetensors', b: 'm-2.safetensors' }),
    );
    expect([...source.names].sort()).toEqual(['a', 'b']);
    expect((await source.read('b')).data).toEqual(Float32Array.of(2));
    expect(source.shardOf('a')).toBe('m-1.safetensors');
    await source.close();
  });

  const bad: [string, Record<string, unknown>, RegExp][] = [
    ['swapped', { a: 'm-2.safetensors', b: 'm-1.safetensors' }, /places it elsewhere/],
    ['incomplete', { a: 'm-1.safetensors', c: 'm-2.safetensors' }, /places it elsewhere/],
    [
      'naming an absent tensor',
      { a: 'm-1.safetensors', b: 'm-2.safetensors', c: 'm-1.safetensors' },
      /lacks it/,
    ],
    ['leaving the folder', { a: '../m-1.safetensors' }, /no plain safetensors file name/],
    ['with an absolute path', { a: '/etc/m.safetensors' }, /no plain safetensors file name/],
    ['naming a pickle', { a: 'm.bin' }, /no plain safetensors file name/],
    ['naming a number', { a: 1 }, /no plain safetensors file name/],
    ['empty', {}, /empty/],
  ];
  it.each(bad)('with an index %s are refused', async (_name, weightMap, message) => {
    const error: unknown = await openModelWeights(await sharded(weightMap)).catch(
      (e: unknown) => e,
    );
    expect(error).toMatchObject({ code: 'file.malformed' });
    expect((error as Error).message).toMatch(message);
  });

  it('with a missing shard name that shard', async () => {
    const made = await sharded({ a: 'm-1.safetensors', b: 'm-3.safetensors' });
    await expect(openModelWeights(made)).rejects.toMatchObject({
      code: 'file.missing',
      where: path.join(made, 'm-3.safetensors'),
    });
  });
});

describe('links', () => {
  it('out of the folder are refused, inside it and into the hub cache’s blobs followed', async () => {
    const outside = await newFolder();
    await writeSafetensors(path.join(outside, 'x'), [f32('a', [1], [1])]);

    const plain = await newFolder();
    await symlink(path.join(outside, 'x'), path.join(plain, 'model.safetensors'));
    await expect(openModelWeights(plain)).rejects.toMatchObject({ code: 'file.unreadable' });

    const hub = path.join(await newFolder(), 'models--org--name');
    const snapshot = path.join(hub, 'snapshots', 'abc');
    await mkdir(snapshot, { recursive: true });
    await mkdir(path.join(hub, 'blobs'));
    await writeSafetensors(path.join(hub, 'blobs', '1234'), [f32('a', [1], [5])]);
    await symlink('../../blobs/1234', path.join(snapshot, 'model.safetensors'));
    const source = await openModelWeights(snapshot);
    expect((await source.read('a')).data).toEqual(Float32Array.of(5));
    await source.close();

    await rm(path.join(snapshot, 'model.safetensors'));
    await symlink(path.join(outside, 'x'), path.join(snapshot, 'model.safetensors'));
    await expect(openModelWeights(snapshot)).rejects.toMatchObject({ code: 'file.unreadable' });
  });
});

describe('a folder without safetensors', () => {
  it('says so, and that pickle files are not loaded', async () => {
    const made = await newFolder();
    await expect(openModelWeights(made)).rejects.toMatchObject({ code: 'file.missing' });
    await writeFile(path.join(made, 'pytorch_model.bin'), 'x');
    await expect(openModelWeights(made)).rejects.toMatchObject({ code: 'model.unsupported' });
  });
});
