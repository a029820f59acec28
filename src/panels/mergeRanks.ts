/** Puts ranks and shapes into the text of a configuration, leaving everything else as it stands. */
import { DotaError } from '../protocol/errors';
import { isObject } from '../protocol/guards';

export interface Ranks {
  rankPattern: Readonly<Record<string, readonly number[]>>;
  shapes: Readonly<Record<string, { rows: readonly number[]; cols: readonly number[] }>>;
  /** What the row factors of `shapes` run over. */
  orientation: 'out' | 'in';
}

/** @throws DotaError `config.invalid` when the text is no JSON object */
export function mergeRanks(
  text: string,
  where: string,
  { rankPattern, shapes, orientation }: Ranks,
): string {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (cause) {
    throw new DotaError('config.invalid', 'Not valid JSON.', {
      where,
      next: 'Fix the syntax first.',
      cause,
    });
  }
  if (!isObject(config)) throw new DotaError('config.invalid', 'Not a JSON object.', { where });
  const adapter = isObject(config.adapter) ? config.adapter : {};
  const merged = {
    ...config,
    adapter: {
      ...adapter,
      target_modules: Object.keys(rankPattern),
      rank_pattern: { ...rankPattern },
      ...(Object.keys(shapes).length === 0 ? {} : { mpo_shapes: { ...shapes }, orientation }),
    },
  };
  return `${JSON.stringify(merged, null, 2)}\n`;
}
