/** Reads a run's configuration from a file and the command line. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseRunConfig } from '../../config/parseRunConfig';
import type { RunConfig, RunConfigInput } from '../../config/runConfig';
import { DotaError } from '../../protocol/errors';
import { runFileError } from '../../runs/atomicFile';

export interface LoadedConfig {
  config: RunConfig;
  /** Absolute folder that relative paths refer to. */
  directory: string;
  /** A name where the configuration has none: the file's. */
  fallbackName: string;
}

/**
 * @param overrides `key=value` with dotted keys; the value is JSON where it parses, else text
 * @throws DotaError `file.missing`, `config.invalid`, `usage`
 */
export async function loadRunConfig(
  file: string,
  overrides: readonly string[],
): Promise<LoadedConfig> {
  const where = path.resolve(file);
  let text: string;
  try {
    text = await readFile(where, 'utf8');
  } catch (cause) {
    throw runFileError(cause, where);
  }
  // Checked as written first, so that a syntax error is reported as the file's.
  const raw = overrides.length === 0 ? undefined : tryParse(text);
  if (raw !== undefined) {
    for (const override of overrides) applyOverride(raw, override);
    text = JSON.stringify(raw);
  }
  return {
    config: parseRunConfig(text, where),
    directory: path.dirname(where),
    fallbackName: path.basename(where).replace(/(\.dota)?\.json$/i, ''),
  };
}

/**
 * A configuration without a file.
 * @param where what to name in a message
 * @throws DotaError `config.invalid`, `usage`
 */
export function configWithOverrides(
  input: RunConfigInput,
  overrides: readonly string[],
  where: string,
): RunConfig {
  const raw = structuredClone(input) as Record<string, unknown>;
  for (const override of overrides) applyOverride(raw, override);
  return parseRunConfig(JSON.stringify(raw), where);
}

function tryParse(text: string): Record<string, unknown> | undefined {
  try {
    const raw: unknown = JSON.parse(text.replace(/^\uFEFF/, ''));
    return typeof raw === 'object' && raw !== null ? (raw as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function applyOverride(config: Record<string, unknown>, override: string): void {
  const at = override.indexOf('=');
  const keys = override.slice(0, at).split('.');
  const last = keys.pop();
  const forbidden = [...keys, last].some((key) => key === '' || key === '__proto__');
  if (at <= 0 || last === undefined || forbidden) {
    throw new DotaError('usage', `--set needs key=value, got "${override}".`, {
      next: 'For example --set training.max_steps=100.',
    });
  }
  let target = config;
  for (const key of keys) {
    const inner = Object.hasOwn(target, key) ? target[key] : undefined;
    const next = typeof inner === 'object' && inner !== null ? inner : {};
    target[key] = next;
    target = next as Record<string, unknown>;
  }
  target[last] = parseValue(override.slice(at + 1));
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
