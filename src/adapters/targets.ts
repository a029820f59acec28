/** Which modules a configuration means, by PEFT's rules. */
import { linearPaths, linearShape } from '../graph/decoder/block';
import type { DecoderConfig } from '../models/modelConfig';
import { DotaError } from '../protocol/errors';
import type { LinearModule } from './adapter';

export interface TargetSelection {
  target_modules: string | readonly string[];
  exclude_modules?: string | readonly string[] | undefined;
  layers_to_transform?: number | readonly number[] | undefined;
}

/** All linear layers of the decoder's blocks, in order; the head is not among them. */
export function linearModules(config: DecoderConfig): LinearModule[] {
  return Array.from({ length: config.numLayers }, (_, layer) =>
    linearPaths.map((pathInBlock) => {
      const [outFeatures, inFeatures] = linearShape(config, pathInBlock);
      const path = `model.layers.${layer}.${pathInBlock}`;
      return { path, layer, pathInBlock, outFeatures, inFeatures };
    }),
  ).flat();
}

/**
 * A list matches whole paths or suffixes after a dot; a string is a regular expression on the whole
 * path, or "all-linear". Exclusion wins.
 * @throws DotaError `adapter.noTarget` when nothing matches
 */
export function selectModules(config: DecoderConfig, selection: TargetSelection): LinearModule[] {
  const candidates = linearModules(config);
  const layers = selection.layers_to_transform;
  const layerList = typeof layers === 'number' ? [layers] : layers;
  const targeted = matcher(selection.target_modules, 'target_modules');
  const excluded = matcher(selection.exclude_modules ?? [], 'exclude_modules');
  const selected = candidates.filter(
    ({ path, layer }) =>
      targeted(path) && !excluded(path) && (layerList === undefined || layerList.includes(layer)),
  );
  if (selected.length > 0) return selected;
  const names = linearPaths.map((path) => path.split('.').at(-1)).join(', ');
  throw new DotaError('adapter.noTarget', 'The adapter matches no module of the model.', {
    where: 'adapter.target_modules',
    next:
      `Candidates are ${names}, in layers 0 to ${config.numLayers - 1} ` +
      `(full path: ${candidates[0]?.path ?? 'none'}).`,
  });
}

function matcher(pattern: string | readonly string[], where: string): (path: string) => boolean {
  if (typeof pattern !== 'string') {
    return (path) => pattern.some((name) => path === name || path.endsWith(`.${name}`));
  }
  if (pattern.toLowerCase() === 'all-linear') return () => true;
  const expression = compile(`^(?:${pattern})$`, where);
  return (path) => expression.test(path);
}

/** The first entry of a pattern table whose key matches the path's end, as PEFT's `rank_pattern`. */
export function matchPattern<T>(
  table: Readonly<Record<string, T>>,
  path: string,
  where: string,
): { key: string; value: T } | undefined {
  const hit = Object.entries(table).find(([key]) =>
    compile(`^(?:.*\\.)?(?:${key})$`, where).test(path),
  );
  return hit && { key: hit[0], value: hit[1] };
}

function compile(source: string, where: string): RegExp {
  try {
    return new RegExp(source);
  } catch (cause) {
    throw new DotaError('config.invalid', 'Not a valid regular expression.', {
      where: `adapter.${where}`,
      next: 'Use a list of module names, or correct the expression.',
      cause,
    });
  }
}
