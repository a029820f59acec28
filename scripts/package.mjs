// Makes the VSIX of this platform, of one (--target linux-x64) or of all (--all). Each carries only its
// own onnxruntime binaries. Files land in out/.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { noticesText } from './notices.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const modules = path.join(root, 'node_modules');
const MB = 1024 * 1024;

/** Largest VSIX allowed, by target. */
export const targets = {
  'linux-x64': 35 * MB,
  'linux-arm64': 35 * MB,
  'darwin-arm64': 35 * MB,
  'win32-x64': 45 * MB,
  'win32-arm64': 45 * MB,
};

const copy = (from, to) => {
  mkdirSync(path.dirname(to), { recursive: true });
  copyFileSync(from, to);
};

/** The native files of a target: all but a library under a second name (macOS ships two copies). */
function nativeFiles(folder) {
  const names = readdirSync(folder);
  const binding = names.find((name) => name.endsWith('.node'));
  const linked = readFileSync(path.join(folder, binding), 'latin1');
  return names.filter((name) => !/\.(dylib|so)/.test(name) || linked.includes(name));
}

function stageOnnxRuntime(target, stage) {
  const [platform, arch] = target.split('-');
  const to = path.join(stage, 'dist/trainer/node_modules');
  const ort = path.join(modules, 'onnxruntime-node');
  for (const name of readdirSync(path.join(ort, 'dist')).filter((n) => n.endsWith('.js')))
    copy(path.join(ort, 'dist', name), path.join(to, 'onnxruntime-node/dist', name));
  const native = path.join(ort, 'bin/napi-v6', platform, arch);
  const files = nativeFiles(native);
  for (const name of files)
    copy(
      path.join(native, name),
      path.join(to, 'onnxruntime-node/bin/napi-v6', platform, arch, name),
    );
  cpSync(
    path.join(realpathSync(modules), 'onnxruntime-common/dist/cjs'),
    path.join(to, 'onnxruntime-common/dist/cjs'),
    { recursive: true, filter: (file) => !/\.(d\.ts|map)$/.test(file) },
  );
  for (const name of ['onnxruntime-node', 'onnxruntime-common']) {
    const manifest = JSON.parse(readFileSync(path.join(modules, name, 'package.json'), 'utf8'));
    // Without scripts and without what only the install script needs.
    const short = {
      name,
      version: manifest.version,
      license: manifest.license,
      main: manifest.main,
    };
    writeFileSync(path.join(to, name, 'package.json'), JSON.stringify(short));
  }
  return files;
}

function stageFiles(target) {
  const stage = path.join(root, 'out/stage', target);
  rmSync(stage, { recursive: true, force: true });
  const {
    scripts,
    dependencies,
    devDependencies,
    private: _private,
    ...manifest
  } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  mkdirSync(stage, { recursive: true });
  writeFileSync(path.join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const file of ['README.md', 'CHANGELOG.md', 'LICENSE', '.vscodeignore'])
    if (existsSync(path.join(root, file))) copy(path.join(root, file), path.join(stage, file));
  for (const folder of ['dist', 'media'])
    cpSync(path.join(root, folder), path.join(stage, folder), {
      recursive: true,
      filter: (file) => !file.endsWith('.map'),
    });
  const native = stageOnnxRuntime(target, stage);
  const bundled = JSON.parse(readFileSync(path.join(root, '.cache/bundled-packages.json'), 'utf8'));
  const packages = [...bundled, 'onnxruntime-node', 'onnxruntime-common'];
  writeFileSync(
    path.join(stage, 'THIRD_PARTY_NOTICES.txt'),
    noticesText(modules, packages, native),
  );
  return stage;
}

/** @returns the file written */
export function packageTarget(target) {
  const stage = stageFiles(target);
  const { name, version } = JSON.parse(readFileSync(path.join(stage, 'package.json'), 'utf8'));
  const out = path.join(root, 'out', `${name}-${target}-${version}.vsix`);
  rmSync(out, { force: true });
  const run = spawnSync(
    process.execPath,
    [
      path.join(modules, '@vscode/vsce/vsce'),
      'package',
      '--no-dependencies',
      '--allow-missing-repository',
      '--no-rewrite-relative-links',
      '--target',
      target,
      '--out',
      out,
    ],
    { cwd: stage, encoding: 'utf8' },
  );
  if (run.status !== 0) throw new Error(`vsce failed for ${target}:\n${run.stdout}${run.stderr}`);
  const { size } = statSync(out);
  const limit = targets[target];
  if (size > limit)
    throw new Error(
      `${out} has ${(size / MB).toFixed(1)} MB, more than the ${limit / MB} MB allowed`,
    );
  console.log(`${path.relative(root, out)}  ${(size / MB).toFixed(1)} MB`);
  return out;
}

export function buildForPackage() {
  rmSync(path.join(root, 'dist'), { recursive: true, force: true });
  const run = spawnSync(process.execPath, ['esbuild.mjs', '--production'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (run.status !== 0) throw new Error('The build failed.');
}

export const thisTarget = `${process.platform}-${process.arch}`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const named = args.includes('--target') ? args[args.indexOf('--target') + 1] : thisTarget;
  const wanted = args.includes('--all') ? Object.keys(targets) : [named];
  const unknown = wanted.find((target) => !(target in targets));
  if (unknown !== undefined) {
    console.error(
      `There is no package for ${unknown}. Targets: ${Object.keys(targets).join(', ')}`,
    );
    process.exit(64);
  }
  buildForPackage();
  for (const target of wanted) packageTarget(target);
}
