// Makes out/gpu-check.run: one file that checks a GPU on a Linux x64 machine with nothing installed.
// It carries Node, the built trainer, onnxruntime and the Vulkan loader.
// Usage: node scripts/gpu-check/pack.mjs ; then on the machine: sh gpu-check.run [--json]
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { softwareGpuEnvironment } from '../software-gpu.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const limit = 60e6;
const stage = path.join(root, 'out/gpu-check');
rmSync(stage, { recursive: true, force: true });
mkdirSync(path.join(stage, 'lib'), { recursive: true });

await build({
  entryPoints: {
    check: path.join(root, 'scripts/gpu-check/check.ts'),
    cli: path.join(root, 'src/trainer/cli.ts'),
  },
  outdir: stage,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  external: ['onnxruntime-node'],
  minify: true,
});
// Children of the tests; they await at their top, which CommonJS can't.
await build({
  entryPoints: Object.fromEntries(
    ['operators', 'bufferLimit', 'residency'].map((name) => [
      name,
      path.join(root, `test/unit/engine/webgpu/${name}Child.ts`),
    ]),
  ),
  outdir: stage,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  external: ['onnxruntime-node'],
  minify: true,
});
copyFileSync(path.join(root, 'bench/step/torch_step.py'), path.join(stage, 'torch_step.py'));
copyFileSync(process.execPath, path.join(stage, 'node'));
copyFileSync(path.join(root, 'package.json'), path.join(stage, 'package.json'));
// The loader comes with the software GPU of the tests; the driver is the machine's own.
copyFileSync(
  path.join(softwareGpuEnvironment().LD_LIBRARY_PATH, 'libvulkan.so.1'),
  path.join(stage, 'lib/libvulkan.so.1'),
);
const modules = realpathSync(path.join(root, 'node_modules'));
for (const [name, parts] of [
  ['onnxruntime-node', ['package.json', 'dist', 'bin/napi-v6/linux/x64']],
  ['onnxruntime-common', ['package.json', 'dist/cjs']],
]) {
  for (const part of parts) {
    cpSync(path.join(modules, name, part), path.join(stage, 'node_modules', name, part), {
      recursive: true,
      filter: (file) => !/\.(map|d\.ts)$/.test(file),
    });
  }
}
writeFileSync(
  path.join(stage, 'run.sh'),
  `#!/bin/sh
# The machine's own Vulkan loader where it has one, else the one that was brought.
here=$(cd "$(dirname "$0")" && pwd)
loader=
for folder in /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64 /usr/lib64 /lib /usr/lib /usr/local/lib; do
  if [ -e "$folder/libvulkan.so.1" ]; then loader=$folder; fi
done
if [ -z "$loader" ]; then
  LD_LIBRARY_PATH="\${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/lib"
  export LD_LIBRARY_PATH
fi
# Before the runtime is loaded: nothing is reported over the network.
ORT_DISABLE_TELEMETRY=1
export ORT_DISABLE_TELEMETRY
exec "$here/node" "$here/check.cjs" "$@"
`,
);
chmodSync(path.join(stage, 'run.sh'), 0o755);
const archive = spawnSync('tar', ['-cz', '-C', stage, '.'], {
  maxBuffer: 1 << 30,
  env: { ...process.env, GZIP: '-9' },
});
if (archive.status !== 0) throw new Error(`tar failed: ${archive.stderr}`);
const header = `#!/bin/sh
# Unpacks itself into a temporary folder, checks the GPU, and leaves nothing.
folder=$(mktemp -d) || exit 70
trap 'rm -rf "$folder"' EXIT INT TERM
sed '1,/^--archive--$/d' "$0" | tar -xz -C "$folder" || exit 70
"$folder/run.sh" "$@"
exit $?
--archive--
`;
const file = path.join(root, 'out/gpu-check.run');
writeFileSync(file, Buffer.concat([Buffer.from(header), archive.stdout]), { mode: 0o755 });
const size = readFileSync(file).length;
console.log(`${path.relative(root, file)}: ${(size / 1e6).toFixed(1)} MB`);
if (size > limit) {
  console.error(`That is more than ${limit / 1e6} MB.`);
  process.exit(1);
}
