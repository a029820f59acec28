/** The command-line side of `dota decompose`: options to arguments, and the matrix products. */
import { readFile, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parsePlan } from '../../decompose/plan';
import { fileError } from '../../models/files';
import { DotaError } from '../../protocol/errors';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { enableGarbageCollection } from '../garbageCollection';
import { OrtGemm } from '../ort/ortGemm';
import { physicalCores } from '../training/physicalCores';
import { resolveModel } from '../training/modelPath';
import { runDecompose, type DecomposeArgs } from './decompose';

export interface DecomposeOptions {
  tensor?: string[];
  cores?: string;
  rows?: string;
  cols?: string;
  plan?: string;
  rank?: string;
  energy?: string;
  error?: string;
  budget?: string;
  orientation?: 'out' | 'in';
  gauge?: 'left' | 'sqrt' | 'sqrt_rms';
  reference?: ('gaussian' | 'own_spectrum')[];
  exactMiddle?: boolean;
  seed?: string;
  out?: string;
  cache?: string;
  threads?: string;
  json?: boolean;
  stream?: boolean;
}

/** @throws DotaError as `runDecompose` */
export async function decomposeCommand(
  model: string,
  tensors: readonly string[],
  options: DecomposeOptions,
): Promise<void> {
  const args: DecomposeArgs = {
    path: resolveModel(model, process.cwd()),
    tensors: [...tensors, ...(options.tensor ?? [])],
    ...defined('cores', integer('--cores', options.cores)),
    ...defined('rowFactors', factors('--rows', options.rows)),
    ...defined('colFactors', factors('--cols', options.cols)),
    ...defined('plan', await readPlan(options.plan)),
    ...defined('rank', ranks(options.rank)),
    ...defined('energy', number('--energy', options.energy)),
    ...defined('relativeError', number('--error', options.error)),
    ...defined('budget', integer('--budget', options.budget)),
    ...defined('orientation', options.orientation),
    ...defined('gauge', options.gauge),
    ...defined('references', options.reference),
    ...defined('exactMiddle', options.exactMiddle),
    ...defined('seed', integer('--seed', options.seed)),
    ...defined('out', options.out === undefined ? undefined : path.resolve(options.out)),
    ...defined(
      'cacheFolder',
      options.cache === undefined ? undefined : path.resolve(options.cache),
    ),
    ...defined('json', options.json),
    ...defined('stream', options.stream),
  };
  if (args.out !== undefined) await checkFolder(args.out);
  const threads = integer('--threads', options.threads) ?? physicalCores();
  await ensureComputeEnvironment();
  enableGarbageCollection();
  const abort = new AbortController();
  const stop = (): void => {
    abort.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
  await runDecompose(args, {
    gemm: new OrtGemm(Math.min(threads, os.availableParallelism())),
    print: (line) => process.stdout.write(`${line}\n`),
    note: (line) => process.stderr.write(`${line}\n`),
    signal: abort.signal,
  });
}

/** Before minutes of work: whether there is a folder to write into. */
async function checkFolder(out: string): Promise<void> {
  const folder = path.dirname(out);
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  throw new DotaError('file.missing', 'There is no such folder to write the cores into.', {
    where: folder,
    next: 'Create it, or give another path with --out.',
  });
}

function defined<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  return value === undefined ? {} : ({ [key]: value } as Record<K, V>);
}

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0) {
    throw new DotaError('usage', `${name} needs a number, got "${text}".`);
  }
  return value;
}

function integer(name: string, text: string | undefined): number | undefined {
  const value = number(name, text);
  if (value !== undefined && !Number.isSafeInteger(value)) {
    throw new DotaError('usage', `${name} needs a whole number, got "${text ?? ''}".`);
  }
  return value;
}

/** One number for all bonds, or `8,16,8` for each. */
function ranks(text: string | undefined): number | number[] | undefined {
  const all = factors('--rank', text);
  return all?.length === 1 ? all[0] : all;
}

async function readPlan(file: string | undefined): Promise<DecomposeArgs['plan']> {
  if (file === undefined) return undefined;
  const full = path.resolve(file);
  let text: string;
  try {
    text = await readFile(full, 'utf8');
  } catch (cause) {
    throw fileError(cause, full);
  }
  return parsePlan(text, full);
}

/** `8x8x4` or `8,8,4`. */
function factors(name: string, text: string | undefined): number[] | undefined {
  if (text !== undefined && !/^\d+([x,]\d+)*$/.test(text))
    throw new DotaError('usage', `${name} needs whole numbers like 8x8x4, got "${text}".`);
  return text?.split(/[x,]/).map(Number);
}
