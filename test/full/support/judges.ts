import { execFileSync, execSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const packages = [
  'torch==2.13.*',
  'transformers==5.18.*',
  'peft==0.21.*',
  'safetensors',
  'numpy',
  'tokenizers',
  'gguf==0.19.*',
];

/**
 * A Python with the judges (PyTorch, transformers, PEFT), installed once into `.cache/judges`;
 * `DOTA_PYTHON` names another one.
 * @throws when the installation fails: the full suite never skips silently
 */
export function judgesPython(): string {
  const own = process.env['DOTA_PYTHON'];
  if (own !== undefined && own !== '') return own;
  const folder = path.resolve('.cache/judges');
  const python = path.join(
    folder,
    process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python',
  );
  const marker = path.join(folder, 'installed-2');
  if (!existsSync(marker)) {
    mkdirSync(path.dirname(folder), { recursive: true });
    execFileSync('python3', ['-m', 'venv', folder], { stdio: 'inherit' });
    const env = { ...process.env, PIP_RETRIES: '0', PIP_DISABLE_PIP_VERSION_CHECK: '1' };
    execFileSync(python, ['-m', 'pip', 'install', '-q', ...packages], { stdio: 'inherit', env });
    execFileSync(python, ['-c', `open(${JSON.stringify(marker)}, "w").close()`]);
  }
  return python;
}

/** Runs a committed fixture script with the judges and returns its standard output. */
export function runJudge(script: string, args: readonly string[] = []): string {
  return execFileSync(judgesPython(), [script, ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, OMP_NUM_THREADS: '2' },
  });
}

/**
 * Runs a judge in a Node process of its own and returns the JSON of its last line: native packages
 * of two libraries in one process may clash, and a crash is told from a wrong answer.
 */
export function runNodeJudge(script: string, args: readonly string[]): Record<string, unknown> {
  const output = execFileSync(process.execPath, [script, ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return JSON.parse(output.trimEnd().split('\n').at(-1)!) as Record<string, unknown>;
}

/** Sharp and llama.cpp come as one package a platform; installing only those saves 2 GB of CUDA. */
function npmPackages(): string[] {
  const { platform, arch } = process;
  const llama = { linux: `linux-${arch}`, win32: `win-${arch}` }[platform as 'linux' | 'win32'];
  const mac = arch === 'arm64' ? 'mac-arm64-metal' : 'mac-x64';
  return [
    'node-llama-cpp@3.22.1',
    `@node-llama-cpp/${llama ?? mac}@3.22.1`,
    '@huggingface/transformers@4.3.1',
    'tokenizers@0.23.2',
    `@img/sharp-${platform}-${arch}`,
    ...(platform === 'win32' ? [] : [`@img/sharp-libvips-${platform}-${arch}`]),
  ];
}

/**
 * A folder whose `node_modules` has node-llama-cpp, transformers.js and the native tokenizers,
 * installed once into `.cache/judges-npm`.
 * @throws when the installation fails
 */
export function judgesPackages(): string {
  const folder = path.resolve('.cache/judges-npm');
  const marker = path.join(folder, 'installed-2');
  if (!existsSync(marker)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'package.json'), '{"private":true}\n');
    const options = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund'];
    const command = `npm install ${[...options, ...npmPackages()].join(' ')}`;
    execSync(command, { cwd: folder, stdio: 'inherit' });
    writeFileSync(marker, '');
  }
  return folder;
}
