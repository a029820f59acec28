import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childEnvironment } from '../../../src/host/environment';
import { candidates, findNode, type NodeSearch } from '../../../src/host/findNode';

let folder: string;

function fakeNode(name: string, script: string): string {
  const file = path.join(folder, name, 'node');
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return file;
}

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dota-node-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function search(changes: Partial<NodeSearch>): NodeSearch {
  return {
    setting: '',
    environment: {},
    platform: 'linux',
    execPath: '/editor/code',
    electron: '40.0.0',
    trainerEntry: path.join(folder, 'cli.cjs'),
    ...changes,
  };
}

describe.skipIf(process.platform === 'win32')('findNode', () => {
  it('takes the first suitable absolute PATH entry and passes over relative and old ones', async () => {
    const old = fakeNode('old', 'printf 18.20.1');
    const broken = fakeNode('broken', 'echo no >&2; exit 3');
    const good = fakeNode('good', 'printf 22.4.0');
    const dirs = [old, broken, good].map((f) => path.dirname(f));
    const found = await findNode(
      search({ environment: { PATH: ['node_modules/.bin', '.', ...dirs].join(':') } }),
    );
    expect(found).toEqual({
      program: good,
      version: '22.4.0',
      source: 'path',
      asElectron: false,
    });
  });

  it('obeys the setting alone, and says what is wrong with it', async () => {
    const good = fakeNode('good2', 'printf 22.4.0');
    const environment = { PATH: path.dirname(good) };
    await expect(findNode(search({ setting: 'node', environment }))).rejects.toMatchObject({
      code: 'node.missing',
      message: expect.stringContaining('dota.nodePath') as string,
    });
    await expect(findNode(search({ setting: good, environment: {} }))).resolves.toMatchObject({
      source: 'setting',
    });
  });

  it('ends with the remote server’s Node, or with the editor’s binary run as Node', async () => {
    expect(await candidates(search({ electron: undefined, execPath: '/server/node' }))).toEqual([
      { program: '/server/node', source: 'remote', asElectron: false },
    ]);
    expect(await candidates(search({}))).toEqual([
      { program: '/editor/code', source: 'editor', asElectron: true },
    ]);
  });

  it('refuses the editor’s binary when it cannot load onnxruntime', async () => {
    // A real Node stands in for the editor; the onnxruntime-node beside this trainer is broken.
    const broken = path.join(folder, 'node_modules', 'onnxruntime-node');
    mkdirSync(broken, { recursive: true });
    writeFileSync(path.join(broken, 'index.js'), "throw new Error('no such library')");
    await expect(
      findNode(search({ execPath: process.execPath, electron: '40.0.0' })),
    ).rejects.toMatchObject({ code: 'node.missing' });
    await expect(
      findNode(
        search({
          execPath: process.execPath,
          electron: '40.0.0',
          trainerEntry: path.resolve('dist/trainer/cli.cjs'),
        }),
      ),
    ).resolves.toMatchObject({ source: 'editor', asElectron: true });
  });

  it('passes over a Node.js for a processor that the extension has no onnxruntime for', async () => {
    // As in the package of another platform.
    const other = path.join(folder, 'other');
    const onnxruntime = path.join(other, 'node_modules', 'onnxruntime-node');
    mkdirSync(path.join(onnxruntime, 'dist'), { recursive: true });
    mkdirSync(path.join(onnxruntime, 'bin', 'napi-v6', 'plan9', 'mips'), { recursive: true });
    writeFileSync(path.join(onnxruntime, 'package.json'), '{"main": "dist/index.js"}');
    writeFileSync(path.join(onnxruntime, 'dist', 'index.js'), '');
    const wanted = { setting: process.execPath, trainerEntry: path.join(other, 'cli.cjs') };
    await expect(findNode(search(wanted))).rejects.toMatchObject({
      code: 'node.missing',
      message: expect.stringContaining(
        `is built for ${process.platform}-${process.arch}, for which this extension has no onnxruntime`,
      ) as string,
    });
    mkdirSync(path.join(onnxruntime, 'bin', 'napi-v6', process.platform, process.arch), {
      recursive: true,
    });
    await expect(findNode(search(wanted))).resolves.toMatchObject({ source: 'setting' });
  });

  it('names everything it tried', async () => {
    const old = fakeNode('older', 'printf 16.0.0');
    await expect(
      findNode(search({ environment: { PATH: path.dirname(old) }, electron: '40' })),
    ).rejects.toThrow(/16\.0\.0 is too old.*\/editor\/code/);
  });
});

describe('childEnvironment', () => {
  it('drops what the editor set for itself and keeps the rest', () => {
    expect(
      childEnvironment({
        PATH: '/bin',
        NODE_OPTIONS: '--inspect',
        ELECTRON_RUN_AS_NODE: '1',
        VSCODE_PID: '7',
        HTTPS_PROXY: 'http://p',
        UNSET: undefined,
      }),
    ).toEqual({ PATH: '/bin', HTTPS_PROXY: 'http://p', ORT_DISABLE_TELEMETRY: '1' });
    expect(childEnvironment({}, true)).toMatchObject({ ELECTRON_RUN_AS_NODE: '1' });
  });

  it('switches onnxruntime’s telemetry off whatever the user’s shell says', () => {
    expect(childEnvironment({ ORT_DISABLE_TELEMETRY: '0' })).toEqual({
      ORT_DISABLE_TELEMETRY: '1',
    });
  });
});
