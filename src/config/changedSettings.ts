/** What of a configuration differs from the defaults: shown with the run, and all that a copy keeps. */
import { runConfigSchema, type RunConfig } from './runConfig';

export interface ConfigDifference {
  /** Dotted key, e.g. `training.learning_rate`. */
  key: string;
  value: unknown;
  /** undefined where the default is to leave the key out. */
  default: unknown;
}

/** Keys whose value differs from the default, in the schema's order; required keys always do. */
export function changedSettings(config: RunConfig): ConfigDifference[] {
  const defaults = runConfigSchema.parse({ data: { train: config.data.train } });
  const changes: ConfigDifference[] = [];
  compare(config, { ...defaults, data: { ...defaults.data, train: undefined } }, '', changes);
  return changes;
}

function compare(value: unknown, standard: unknown, key: string, out: ConfigDifference[]): void {
  if (isSection(value) && isSection(standard) && !recordKeys.has(key)) {
    for (const name of Object.keys(value)) {
      compare(value[name], standard[name], key === '' ? name : `${key}.${name}`, out);
    }
    return;
  }
  if (value !== undefined && JSON.stringify(value) !== JSON.stringify(standard)) {
    out.push({ key, value, default: standard });
  }
}

/** Values that are maps themselves and are shown and copied whole. */
const recordKeys = new Set(['adapter.rank_pattern', 'adapter.mpo_shapes']);

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The configuration with every key at its default left out. */
export function withoutDefaults(config: RunConfig): Record<string, unknown> {
  const short: Record<string, unknown> = {};
  for (const { key, value } of changedSettings(config)) {
    const [section, name] = key.split('.', 2) as [string, string | undefined];
    if (name === undefined) short[section] = value;
    else short[section] = { ...(short[section] as object | undefined), [name]: value };
  }
  return short;
}
