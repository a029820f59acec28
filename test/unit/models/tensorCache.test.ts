import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RawTensor } from '../../../src/models/modelConfig';
import { TensorCache, tensorCacheKey } from '../../../src/models/tensorCache';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-cache-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const entry = (values: number[]) => ({
  tensors: new Map<string, RawTensor>([
    ['a', { dtype: 'F32', shape: [values.length], data: Float32Array.from(values) }],
    ['b', { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 0, 1) }],
  ]),
  metadata: { note: 'é' },
});
const file = (key: string): string => path.join(folder, `${key}.safetensors`);

describe('the tensor cache', () => {
  it('gives back what was written, and nothing for another key', async () => {
    const cache = new TensorCache(folder);
    const key = tensorCacheKey(['x', 1]);
    expect(await cache.read(key)).toBeUndefined();
    await cache.write(key, entry([1, -0, 2.5]));
    const read = await cache.read(key);
    expect(read).toEqual(entry([1, -0, 2.5]));
    expect(Object.is((read!.tensors.get('a')!.data as Float32Array)[1], -0)).toBe(true);
    expect(await cache.read(tensorCacheKey(['x', 2]))).toBeUndefined();
  });

  it.each([
    ['a flipped bit of a tensor', (bytes: Buffer) => (bytes[bytes.length - 2]! ^= 1)],
    ['a flipped bit of the metadata', (bytes: Buffer) => bytes.set([0x65], bytes.indexOf('é'))],
    ['a broken header', (bytes: Buffer) => bytes.fill(0, 0, 8)],
  ])('treats %s as no entry, and removes it', async (_name, damage) => {
    const cache = new TensorCache(folder);
    await cache.write('k', entry([1, 2]));
    const bytes = readFileSync(file('k'));
    damage(bytes);
    writeFileSync(file('k'), bytes);
    expect(await cache.read('k')).toBeUndefined();
    expect(readdirSync(folder)).toEqual([]);
    await cache.write('k', entry([1, 2]));
    expect(await cache.read('k')).toEqual(entry([1, 2]));
  });

  it('treats a file cut off at any place as no entry', async () => {
    const cache = new TensorCache(folder);
    await cache.write('k', entry([1, 2]));
    const bytes = readFileSync(file('k'));
    for (let length = 0; length < bytes.length; length += 7) {
      writeFileSync(file('k'), bytes.subarray(0, length));
      expect(await cache.read('k'), String(length)).toBeUndefined();
    }
  });

  it('drops what was not used for longest when it grows too large', async () => {
    const size = new TensorCache(folder);
    await size.write('probe', entry(new Array(1000).fill(1)));
    const bytes = readFileSync(file('probe')).length;
    rmSync(file('probe'));
    const cache = new TensorCache(folder, 2.5 * bytes);
    await cache.write('old', entry(new Array(1000).fill(1)));
    await cache.write('used', entry(new Array(1000).fill(2)));
    utimesSync(file('old'), 1, 1);
    utimesSync(file('used'), 2, 2);
    // Reading makes the older one the younger.
    await cache.read('old');
    await cache.write('new', entry(new Array(1000).fill(3)));
    expect(readdirSync(folder).sort()).toEqual(['new.safetensors', 'old.safetensors']);
  });

  it('does without a folder that cannot be written', async () => {
    writeFileSync(path.join(folder, 'file'), '');
    const cache = new TensorCache(path.join(folder, 'file', 'cache'));
    await cache.write('k', entry([1]));
    expect(await cache.read('k')).toBeUndefined();
  });
});
