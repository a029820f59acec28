import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';

const packages = [
  'torch==2.13.*',
  'transformers==5.18.*',
  'peft==0.21.*',
  'safetensors',
  'numpy',
  'tokenizers',
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
  const marker = path.join(folder, 'installed');
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
