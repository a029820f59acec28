/** What the choice for the whole model keeps and costs, before anything is trained. */
import { h, replaceChildren } from '../shared/dom';
import { formatBytes, formatCount, formatInteger, formatPercent, plural } from '../shared/format';
import { adapterBytes, trainingBytes } from './cut';
import { moduleRows, type ModuleRow } from './exports';
import { sameShape, type ExplorerState } from './state';

export interface Tile {
  label: string;
  value: string;
  note: string;
  /** What the number means, as a tooltip. */
  help: string;
}

/** Relative error of several matrices taken as one: root of lost over whole energy. */
export function jointError(rows: readonly Pick<ModuleRow, 'energy' | 'error'>[]): number {
  const energy = rows.reduce((sum, r) => sum + r.energy, 0);
  const lost = rows.reduce((sum, r) => sum + r.energy * r.error ** 2, 0);
  return energy > 0 ? Math.sqrt(lost / energy) : 0;
}

/** Modules outside the layers (the head) can be looked at, but an adapter is for those inside. */
export function totalTiles(state: ExplorerState): Tile[] {
  const all = moduleRows(state);
  const rows = all.filter((r) => r.layer !== undefined);
  const parameters = rows.reduce((sum, r) => sum + r.parameters, 0);
  const dense = rows.reduce((sum, r) => sum + r.rows * r.cols, 0);
  const about = rows.every((r) => r.exact) ? '' : '≈ ';
  const none = rows.length === 0;
  const error = jointError(rows);
  return [
    {
      label: 'Decomposed',
      value: `${formatInteger(all.length)} of ${formatInteger(state.modules.length)}`,
      note: stateOfResults(state),
      help: 'Modules that the other numbers are sums of',
    },
    {
      label: 'Relative error',
      value: none ? '–' : about + formatPercent(error),
      note: none ? '' : `${about}${formatPercent(1 - error ** 2)} of the energy kept`,
      help: '‖W − MPO‖ / ‖W‖ of all these matrices together',
    },
    {
      label: 'Trained parameters',
      value: none ? '–' : formatCount(parameters),
      note: none ? '' : `${formatPercent(parameters / dense)} of these matrices`,
      help: 'Entries of all cores',
    },
    {
      label: 'Adapter file',
      value: none ? '–' : formatBytes(adapterBytes(parameters)),
      note: 'cores in fp32',
      help: 'Size of a checkpoint’s adapter, headers aside',
    },
    memoryTile(state, rows, parameters),
  ];
}

function stateOfResults(state: ExplorerState): string {
  const stale = [...state.results.values()].filter(
    (r) => !sameShape(r.options, state.options),
  ).length;
  if (stale > 0) return `${plural(stale, 'result')} of another shape: decompose again`;
  if (state.options.rule === 'budget')
    return 'the budget is spread when all modules are decomposed';
  return 'modules';
}

function memoryTile(
  { training }: ExplorerState,
  rows: readonly ModuleRow[],
  parameters: number,
): Tile {
  const bytes = trainingBytes(training, rows);
  const label = 'Training memory';
  const help =
    'Peak of training with DoTA on the CPU, as dota train --estimate gives it at this batch: the model, activations, cores, their gradient and AdamW’s moments';
  if (training === undefined || bytes === undefined)
    return { label, value: '–', note: 'decompose a layer to see it', help };
  const own = training.bytesPerParameter * parameters;
  return {
    label,
    value: `≈ ${formatBytes(bytes)}`,
    note: `${training.batch} × ${formatInteger(training.sequence)} tokens; adapter ${formatBytes(own)}`,
    help,
  };
}

export class Totals {
  readonly element = h('dl', { class: 'tiles totals', attrs: { 'aria-label': 'Whole model' } });
  private shown = '';

  update(state: ExplorerState): void {
    const tiles = totalTiles(state);
    const signature = JSON.stringify(tiles);
    if (signature === this.shown) return;
    this.shown = signature;
    replaceChildren(this.element, ...tiles.map(tileElement));
  }
}

export function tileElement({ label, value, note, help }: Tile): HTMLElement {
  return h(
    'div',
    { class: 'tile', attrs: { title: help } },
    h('dt', { text: label }),
    h('dd', {}, h('div', { class: 'value', text: value }), h('div', { class: 'note', text: note })),
  );
}
