// A software GPU (SwiftShader's Vulkan) for tests of the WebGPU device: unpacked once from the
// @sparticuz/chromium package into .cache/. Prints the environment that a process needs to use it.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const folder = path.join(root, '.cache', 'software-gpu');

/** Where the package exists for: its binaries are for Linux on x64. */
export const softwareGpuSupported = process.platform === 'linux' && process.arch === 'x64';

/** @returns {Record<string, string>} environment variables for a child process */
export function softwareGpuEnvironment() {
  if (!existsSync(folder)) unpack();
  return {
    LD_LIBRARY_PATH: folder,
    VK_ICD_FILENAMES: path.join(folder, 'vk_swiftshader_icd.json'),
    XDG_RUNTIME_DIR: folder,
  };
}

function unpack() {
  const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
  const archive = path.join(packageRoot(entry), 'bin', 'swiftshader.tar.br');
  // Renamed when complete: two test processes may unpack at the same time.
  const partial = `${folder}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  const tar = spawnSync('tar', ['-x', '-C', partial], {
    input: brotliDecompressSync(readFileSync(archive)),
  });
  if (tar.status !== 0) throw new Error(`tar failed: ${tar.stderr}`);
  try {
    renameSync(partial, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
  }
}

function packageRoot(file) {
  let current = path.dirname(file);
  while (!existsSync(path.join(current, 'bin'))) current = path.dirname(current);
  return current;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, value] of Object.entries(softwareGpuEnvironment()))
    console.log(`${name}=${value}`);
}
