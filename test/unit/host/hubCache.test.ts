import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hubCacheFolder, hubModels } from '../../../src/host/hubCache';
import { ModelList } from '../../../src/host/modelList';

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(path.join(os.tmpdir(), 'dota-hub-'));
});
afterEach(() => {
  rmSync(cache, { recursive: true, force: true });
});

/** A model as `huggingface_hub` lays it down: blobs by hash, links in the snapshot. */
function install(name: string, revision: string, main = true): string {
  const model = path.join(cache, `models--${name.replace('/', '--')}`);
  const snapshot = path.join(model, 'snapshots', revision);
  const blobs = path.join(model, 'blobs');
  for (const folder of [snapshot, blobs]) mkdirSync(folder, { recursive: true });
  cpSync('media/sample/model', snapshot, { recursive: true });
  readdirSync(snapshot).forEach((file, i) => {
    const blob = `${revision}${i}`;
    renameSync(path.join(snapshot, file), path.join(blobs, blob));
    symlinkSync(path.join('..', '..', 'blobs', blob), path.join(snapshot, file));
  });
  if (main) {
    mkdirSync(path.join(model, 'refs'), { recursive: true });
    writeFileSync(path.join(model, 'refs', 'main'), revision);
  }
  return snapshot;
}

describe('the hub cache', () => {
  it('is found by the hub’s own variables', () => {
    const home = path.resolve('/home/ada');
    const at = (environment: Record<string, string>) => hubCacheFolder(environment, home);
    expect(at({})).toBe(path.join(home, '.cache', 'huggingface', 'hub'));
    expect(at({ XDG_CACHE_HOME: path.resolve('/c') })).toBe(path.resolve('/c/huggingface/hub'));
    expect(at({ HF_HOME: '~/hf' })).toBe(path.join(home, 'hf', 'hub'));
    expect(at({ HF_HOME: '/x', HF_HUB_CACHE: path.resolve('/y') })).toBe(path.resolve('/y'));
  });

  it('lists the snapshot of main, and models without one by their last revision', async () => {
    const main = install('org/with-main', 'aaa');
    install('org/with-main', 'bbb', false);
    const last = install('plain', 'ccc', false);
    mkdirSync(path.join(cache, 'models--org--empty', 'snapshots', 'ddd'), { recursive: true });
    mkdirSync(path.join(cache, 'datasets--org--rows'));
    expect(await hubModels(cache)).toEqual([
      { name: 'org/with-main', folder: main },
      { name: 'plain', folder: last },
    ]);
    expect(await hubModels(path.join(cache, 'nowhere'))).toEqual([]);
  });

  it('is part of the list of models, which reads through the links', async () => {
    const folder = install('org/tiny', 'aaa');
    const places = { sample: '', workspaceFolders: [], listed: [], hubCache: cache };
    const [model, ...others] = await new ModelList(() => places).read();
    expect(others).toEqual([]);
    expect(model).toMatchObject({ name: 'org/tiny', folder, architecture: 'llama' });
    expect(model!.problem).toBeUndefined();
  });

  it('refuses a link that leaves the blobs', async () => {
    const folder = install('org/evil', 'aaa');
    const outside = path.join(cache, 'secret.json');
    renameSync(path.join(cache, 'models--org--evil', 'blobs', 'aaa0'), outside);
    const [first] = readdirSync(folder).sort();
    rmSync(path.join(folder, 'config.json'));
    writeFileSync(outside, '{}');
    symlinkSync(outside, path.join(folder, 'config.json'));
    expect(first).toBeDefined();
    const places = { sample: '', workspaceFolders: [], listed: [], hubCache: cache };
    const [model] = await new ModelList(() => places).read();
    expect(model!.problem).toContain('leaves the model folder');
  });
});
