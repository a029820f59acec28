/**
 * What an MPO keeps of each weight beside what it keeps of the two references, for one module in all
 * layers and for all modules of two layers. Numbers of the last decomposition: the references have
 * no others. Pure.
 */
import type { ExplorerModule } from '../../src/protocol/explorerPanel';
import { formatNumber, formatPercent, plural } from '../shared/format';
import { structure } from './cut';
import type { ExplorerState } from './state';

export interface Point {
  module: string;
  kind: string;
  layer: number;
  kept: number;
  gaussian: number | undefined;
  ownSpectrum: number | undefined;
  /** Kept beyond the better reference; undefined without both. */
  structure: number | undefined;
  /** Parameters of the cores over those of the matrix. */
  share: number;
}

function pointOf(state: ExplorerState, module: ExplorerModule): Point | undefined {
  const result = state.results.get(module.name)?.prepared.result;
  if (result === undefined || module.layer === undefined) return undefined;
  const keptBy = (kind: 'gaussian' | 'own_spectrum'): number | undefined =>
    result.references.find((r) => r.kind === kind)?.keptEnergy;
  return {
    module: module.name,
    kind: module.kind,
    layer: module.layer,
    kept: result.keptEnergy,
    gaussian: keptBy('gaussian'),
    ownSpectrum: keptBy('own_spectrum'),
    structure: structure(result),
    share: result.parameters / (result.rows * result.cols),
  };
}

const isPoint = (p: Point | undefined): p is Point => p !== undefined;

/** One kind of module in every layer that was decomposed, by layer. */
export function acrossLayers(state: ExplorerState, kind: string): Point[] {
  return state.modules
    .filter((m) => m.kind === kind)
    .map((m) => pointOf(state, m))
    .filter(isPoint)
    .sort((a, b) => a.layer - b.layer);
}

/** The modules of two layers, kind by kind in the model's order. */
export function layerPair(
  state: ExplorerState,
  first: number,
  second: number,
): { kind: string; first: Point | undefined; second: Point | undefined }[] {
  const kinds = [
    ...new Set(
      state.modules.filter((m) => m.layer === first || m.layer === second).map((m) => m.kind),
    ),
  ];
  const find = (kind: string, layer: number): Point | undefined => {
    const module = state.modules.find((m) => m.kind === kind && m.layer === layer);
    return module === undefined ? undefined : pointOf(state, module);
  };
  return kinds.map((kind) => ({ kind, first: find(kind, first), second: find(kind, second) }));
}

/** Structure below half a percentage point is what chance gives a matrix of a few hundred rows. */
const NOISE = 0.005;

export function hasStructure(point: Point): boolean {
  return point.structure !== undefined && point.structure > NOISE;
}

/** Shares of parameters more than a tenth apart are not the same compression. */
export function equalCompression(points: readonly Point[]): boolean {
  const shares = points.map((p) => p.share);
  return points.length === 0 || Math.max(...shares) <= 1.1 * Math.min(...shares);
}

const caution = (equal: boolean): string =>
  equal
    ? ''
    : ' They were decomposed at different ranks, so compare with care: more parameters keep more.';

const points = (share: number): string => `${formatNumber(share * 100, 3)} points`;

/** The drawing in a sentence or two. */
export function describeLayers(kind: string, list: readonly Point[]): string {
  if (list.length === 0) return `No ${kind} is decomposed yet.`;
  const known = list.filter((p) => p.structure !== undefined);
  if (known.length === 0)
    return `${kind}: decompose from here to compare with the references.${caution(equalCompression(list))}`;
  const some = known.filter(hasStructure);
  const by = [...known].sort((a, b) => (b.structure ?? 0) - (a.structure ?? 0));
  const [most, least] = [by[0] as Point, by.at(-1) as Point];
  const value = most.structure ?? 0;
  const range =
    known.length === 1
      ? `${points(Math.abs(value))} ${value < 0 ? 'less' : 'more'} in layer ${most.layer}`
      : `most in layer ${most.layer} (${points(value)}), least in layer ${least.layer} (${points(least.structure ?? 0)})`;
  const open = list.length - known.length;
  const rest =
    open === 0 ? '' : ` ${plural(open, 'layer')} not compared yet: Decompose All does it.`;
  return `${kind} keeps more than both references in ${some.length} of ${plural(known.length, 'layer')}: ${range}.${rest}${caution(equalCompression(list))}`;
}

export function describePair(
  pairs: ReturnType<typeof layerPair>,
  first: number,
  second: number,
): string {
  const side = (layer: number, list: readonly (Point | undefined)[]): string => {
    const known = list.filter(isPoint);
    if (known.length === 0) return `layer ${layer} is not decomposed yet`;
    const kept = known.reduce((sum, p) => sum + p.kept, 0) / known.length;
    const some = known.filter(hasStructure);
    return `layer ${layer} keeps ${formatPercent(kept)} on average, ${some.length} of ${plural(known.length, 'module')} beyond both references`;
  };
  // Kinds have sizes, and so compressions, of their own; only the two layers must agree.
  const equal = pairs.every((p) => equalCompression([p.first, p.second].filter(isPoint)));
  const text = `${side(
    first,
    pairs.map((p) => p.first),
  )}; ${side(
    second,
    pairs.map((p) => p.second),
  )}.`;
  return text.charAt(0).toUpperCase() + text.slice(1) + caution(equal);
}
