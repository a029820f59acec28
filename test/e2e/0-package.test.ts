/** The VSIX: what is in it, what is not, and that its trainer needs nothing else. */
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { unzip, zipEntries } from '../support/unzip';
// @ts-expect-error a script without types
import * as packaging from '../../scripts/package.mjs';
import { until } from '../support/until';

const { packageTarget, targets, thisTarget } = packaging as {
  packageTarget: (target: string) => string;
  /** Largest size by target. */
  targets: Record<string, number>;
  thisTarget: string;
};
const { vsix } = inject('editor');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dota-vsix-'));
  unzip(vsix, folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('the package', () => {
  const names = zipEntries(vsix).map((entry) => entry.name);
  const target = `${process.platform}/${process.arch}`;

  it('holds what the extension needs', () => {
    for (const name of [
      'package.json',
      'readme.md',
      'changelog.md',
      'LICENSE.txt',
      'THIRD_PARTY_NOTICES.txt',
      'dist/extension.cjs',
      'dist/trainer/cli.cjs',
      'dist/trainer/worker.cjs',
      'dist/webview/metrics.js',
      'dist/webview/metrics.css',
      'media/icon.png',
      'media/dota.schema.json',
      'media/sample/model/model.safetensors',
      'media/sample/data/arithmetic.train.json',
      `dist/trainer/node_modules/onnxruntime-node/bin/napi-v6/${target}/onnxruntime_binding.node`,
    ])
      expect(names).toContain(`extension/${name}`);
  });

  it('holds nothing else', () => {
    const allowed = [
      /^extension\/(package\.json|readme\.md|changelog\.md|LICENSE\.txt|THIRD_PARTY_NOTICES\.txt)$/,
      /^extension\/dist\/extension\.cjs$/,
      /^extension\/dist\/trainer\/(cli|worker)\.cjs$/,
      /^extension\/dist\/trainer\/node_modules\/onnxruntime-(node|common)\//,
      /^extension\/dist\/webview\/[\w-]+\.(js|css|ttf)$/,
      /^extension\/media\/(icon\.png|activity\.svg|dota(-study)?\.schema\.json)$/,
      /^extension\/media\/walkthrough\/[\w-]+\.md$/,
      /^extension\/media\/sample\//,
      /^extension\.vsixmanifest$/,
      /^\[Content_Types\]\.xml$/,
    ];
    expect(names.filter((name) => !allowed.some((pattern) => pattern.test(name)))).toEqual([]);
    expect(names.filter((name) => /\.(map|ts)$|\/script\//.test(name))).toEqual([]);
    const binaries = names.filter((name) => name.includes('/napi-v6/'));
    expect(binaries.filter((name) => !name.includes(`/${target}/`))).toEqual([]);
  });

  it('stays within its limits', () => {
    expect(statSync(vsix).size).toBeLessThanOrEqual(
      (process.platform === 'win32' ? 45 : 35) * 2 ** 20,
    );
    const host = statSync(path.join(folder, 'extension/dist/extension.cjs'));
    expect(host.size).toBeLessThan(300 * 1024);
    const code = readFileSync(path.join(folder, 'extension/dist/extension.cjs'), 'utf8');
    expect(code).not.toMatch(/require\(["']onnxruntime|\.node["']\)/);
  });

  it('names every package whose code it carries', () => {
    const notices = readFileSync(path.join(folder, 'extension/THIRD_PARTY_NOTICES.txt'), 'utf8');
    for (const name of ['onnxruntime-node', 'onnxruntime-common', 'uplot', 'zod', 'commander'])
      expect(notices).toContain(`${name} `);
    expect(notices).toMatch(/Permission is hereby granted/);
  });

  it('has a manifest without scripts or dependencies', () => {
    const manifest = JSON.parse(
      readFileSync(path.join(folder, 'extension/package.json'), 'utf8'),
    ) as Record<string, unknown>;
    for (const key of ['scripts', 'dependencies', 'devDependencies', 'private'])
      expect(manifest).not.toHaveProperty(key);
    expect(existsSync(path.join(folder, 'extension', manifest.main as string))).toBe(true);
  });
});

describe('the package of every platform', () => {
  const files = new Map<string, string[]>();

  it.each(Object.keys(targets))('%s keeps its limit and has its own binaries alone', (name) => {
    const file = name === thisTarget ? vsix : packageTarget(name);
    expect(statSync(file).size).toBeLessThanOrEqual(targets[name]!);
    const names = zipEntries(file).map((entry) => entry.name);
    const [system, arch] = name.split('-');
    const native = names.filter((n) => n.includes('/napi-v6/')).map((n) => path.posix.basename(n));
    const folder = `/napi-v6/${system}/${arch}/`;
    expect(names.filter((n) => n.includes('/napi-v6/') && !n.includes(folder))).toEqual([]);
    expect(native).toContain('onnxruntime_binding.node');
    const library = {
      linux: /^libonnxruntime\.so/,
      darwin: /\.dylib$/,
      win32: /^onnxruntime\.dll$/,
    };
    // The macOS package ships its library twice; only the one that is linked is taken.
    expect(native.filter((n) => library[system as keyof typeof library].test(n))).toHaveLength(1);
    files.set(
      name,
      names.filter((n) => !n.includes('/napi-v6/')),
    );
  });

  it('is the same everywhere but for these', () => {
    for (const list of files.values()) expect(list.sort()).toEqual(files.get(thisTarget)!.sort());
  });
});

describe('npm start', () => {
  it('installs the package with code on the PATH, and opens the workspace with it', () => {
    const bin = path.join(folder, 'bin');
    const calls = path.join(folder, 'calls.jsonl');
    mkdirSync(bin);
    // Stands in for VS Code's own program, and writes down what it is asked.
    const program = `#!${process.execPath}
require('node:fs').appendFileSync(${JSON.stringify(calls)}, JSON.stringify(process.argv.slice(2)) + '\\n');
`;
    writeFileSync(path.join(bin, 'code'), program, { mode: 0o755 });
    const run = spawnSync(process.execPath, ['scripts/start.mjs'], {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${bin}${path.delimiter}${process.env.PATH ?? ''}` },
    });
    expect(run.status, run.stderr).toBe(0);
    const asked = readFileSync(calls, 'utf8').trim().split('\n');
    const [version, install, open, ...more] = asked.map((line) => JSON.parse(line) as string[]);
    expect(version).toEqual(['--version']);
    expect(install).toEqual(['--install-extension', vsix, '--force']);
    const workspace = path.resolve('out/sample-workspace');
    const readme = path.join(workspace, 'README.md');
    expect(open).toEqual(['--new-window', workspace, readme]);
    expect(more).toEqual([]);
    expect(existsSync(vsix) && existsSync(readme)).toBe(true);
    expect(run.stdout).toContain(`Opened ${workspace} in VS Code.`);
  });

  it('serves VS Code from npm where there is no code, and prints its address', async () => {
    // Node and npm alone: a machine with VS Code would open that.
    const bin = path.join(folder, 'alone');
    mkdirSync(bin);
    symlinkSync(process.execPath, path.join(bin, 'node'));
    const child = spawn(process.execPath, ['scripts/start.mjs'], {
      env: { ...process.env, PATH: bin },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    try {
      let said = '';
      const address = await new Promise<string>((resolve, reject) => {
        const listen = (data: Buffer): void => {
          said += data.toString();
          const [found] = /http:\/\/127\.0\.0\.1:\d+\/\S*(?=\n)/.exec(said) ?? [];
          if (found !== undefined) resolve(found);
        };
        child.stdout.on('data', listen);
        child.stderr.on('data', listen);
        child.on('exit', (status) => {
          reject(new Error(`npm start ended with ${status}: ${said}`));
        });
      });
      expect(decodeURIComponent(address)).toContain(path.resolve('out/sample-workspace'));
      const page = await fetch(address);
      expect(page.status).toBe(200);
      expect(await page.text()).toContain('workbench');
      const installed = readdirSync(path.resolve('.vscode-test/start/extensions'));
      expect(installed.filter((name) => name.includes('dota-vscode'))).not.toEqual([]);
      // Ctrl+C ends the editor with it.
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGINT');
      expect(await ended).toBe(0);
      await until('the end of the server', () =>
        fetch(address).then(
          () => undefined,
          () => true,
        ),
      );
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('says what VS Code said where the installation fails', () => {
    const bin = path.join(folder, 'failing');
    mkdirSync(bin);
    const program = `#!${process.execPath}
if (process.argv.includes('--install-extension')) { console.error('No space left.'); process.exit(1); }
`;
    writeFileSync(path.join(bin, 'code'), program, { mode: 0o755 });
    const run = spawnSync(process.execPath, ['scripts/start.mjs'], {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${bin}${path.delimiter}${process.env.PATH ?? ''}` },
    });
    expect(run.status).toBe(1);
    expect(run.stderr).toContain('No space left.');
  });
});

describe('the unpacked trainer', () => {
  it('trains two steps with the repository out of reach', () => {
    const config = path.join(folder, 'two.dota.json');
    const data = path.join(folder, 'extension/media/sample/data/arithmetic.train.json');
    writeFileSync(
      config,
      JSON.stringify({
        data: { train: data, max_length: 64 },
        adapter: { r: 2, target_modules: ['q_proj'] },
        training: { max_steps: 2, per_device_train_batch_size: 2, eval_on_start: false },
        device: 'cpu',
        threads: 1,
      }),
    );
    const cli = path.join(folder, 'extension/dist/trainer/cli.cjs');
    // Notes every module that is loaded, in the process and its Worker.
    const preload = path.join(folder, 'notes.cjs');
    const notes = path.join(folder, 'loaded.txt');
    writeFileSync(
      preload,
      `const Module = require('node:module');
const resolve = Module._resolveFilename;
Module._resolveFilename = function (...args) {
  const file = resolve.apply(this, args);
  require('node:fs').appendFileSync(${JSON.stringify(notes)}, file + '\\n');
  return file;
};
`,
    );
    const args = [process.execPath, '--require', preload, cli, 'train', config, '--json'];
    // In a mount namespace of its own, where one may be made, the repository is an empty folder.
    const hidden = [process.cwd(), path.dirname(realpathSync('node_modules'))];
    const script = `${hidden.map((f) => `mount -t tmpfs none '${f}'`).join(' && ')} && exec "$@"`;
    const hiding = ['unshare', '-r', '-m', 'sh', '-c', script, 'sh'];
    const tried = spawnSync(hiding[0]!, [...hiding.slice(1), 'true'], { encoding: 'utf8' });
    const canHide = tried.status === 0;
    if (!canHide) {
      const why = (tried.error?.message ?? tried.stderr).trim();
      console.warn(
        `The repository is not hidden from the trainer (${why}): only what it loads is checked.`,
      );
    }
    const [program, ...rest] = [...(canHide ? hiding : []), ...args];
    const run = spawnSync(program!, rest, { cwd: folder, encoding: 'utf8' });
    expect(run.stderr).not.toMatch(/Cannot find module/);
    expect(run.status, run.stderr).toBe(0);
    const result = JSON.parse(run.stdout.trim().split('\n').at(-1)!) as object;
    expect(result).toMatchObject({ state: 'finished', steps: 2 });
    const loaded = readFileSync(notes, 'utf8').trim().split('\n').filter(path.isAbsolute);
    const own = path.join(realpathSync(folder), path.sep);
    expect(loaded.map((file) => path.basename(file))).toEqual(
      expect.arrayContaining(['cli.cjs', 'worker.cjs', 'onnxruntime_binding.node']),
    );
    expect(loaded.filter((file) => !realpathSync(file).startsWith(own))).toEqual([]);
  });
});
