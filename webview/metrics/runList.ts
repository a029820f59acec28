/** The list of runs: which are drawn, in which style, and which one the header describes. */
import type { RunSummary } from '../../src/protocol/metricsPanel';
import { h, syncChildren } from '../shared/dom';
import { formatInteger, formatNumber } from '../shared/format';
import { legendMark, styleOf } from '../shared/legendMark';
import type { Theme } from '../shared/theme';
import { differences } from './compare';
import { methodName, stateLabel } from './header';
import type { PanelState } from './state';

export interface RunListEvents {
  toggle(id: string): void;
  lead(id: string): void;
}

export class RunList {
  readonly element: HTMLElement;
  private readonly list = h('ul', { class: 'run-list' });
  private items = new Map<string, { signature: string; element: HTMLElement }>();

  constructor(private readonly events: RunListEvents) {
    this.element = h(
      'aside',
      { class: 'runs', attrs: { 'aria-label': 'Runs' } },
      h('h2', { text: 'Runs' }),
      this.list,
    );
  }

  update(state: PanelState, theme: Theme): void {
    const lead = state.runs.find((r) => r.id === state.view.selected[0]);
    const common = JSON.stringify([state.view.selected, theme.series, theme.highContrast]);
    const focused = document.activeElement;
    const focusKey =
      focused instanceof HTMLElement && this.list.contains(focused)
        ? focused.dataset.key
        : undefined;
    // Only what changed is built anew: with hundreds of runs, one of them is live.
    const items = state.runs.map((run) => {
      const signature = JSON.stringify([
        common,
        run.name,
        run.state,
        run.progress?.step,
        run.best?.validationLoss,
      ]);
      const old = this.items.get(run.id);
      if (old?.signature === signature) return { id: run.id, ...old };
      return { id: run.id, signature, element: this.item(run, lead, state, theme) };
    });
    const unchanged =
      items.length === this.items.size &&
      items.every(({ id, element }) => this.items.get(id)?.element === element);
    if (unchanged) return;
    this.items = new Map(items.map(({ id, signature, element }) => [id, { signature, element }]));
    syncChildren(
      this.list,
      items.map(({ element }) => element),
    );
    if (focusKey !== undefined && document.activeElement !== focused) {
      this.list.querySelector<HTMLElement>(`[data-key="${CSS.escape(focusKey)}"]`)?.focus();
    }
  }

  private item(
    run: RunSummary,
    lead: RunSummary | undefined,
    state: PanelState,
    theme: Theme,
  ): HTMLElement {
    const shown = state.view.selected.includes(run.id);
    const isLead = run === lead;
    const box = h('input', {
      attrs: { type: 'checkbox', 'aria-label': `Show ${run.name}`, 'data-key': `box-${run.id}` },
      on: {
        change: () => {
          this.events.toggle(run.id);
        },
      },
    });
    box.checked = shown;
    const slot = state.view.slots[run.id];
    const progress = run.progress;
    const note = [
      methodName(run.method),
      stateLabel(run.state).toLowerCase(),
      progress === undefined
        ? undefined
        : run.state === 'finished'
          ? `${formatInteger(progress.step)} steps`
          : `${formatInteger(progress.step)} / ${formatInteger(progress.totalSteps)}`,
    ].filter((part) => part !== undefined);
    const causes = shown && lead !== undefined && !isLead ? differences(lead, run) : [];
    const name = h('button', {
      class: 'run-name',
      text: run.name,
      attrs: {
        type: 'button',
        title: `${run.name}: show in the header`,
        'aria-current': isLead ? 'true' : undefined,
        'data-key': `name-${run.id}`,
      },
      on: {
        click: () => {
          this.events.lead(run.id);
        },
      },
    });
    return h(
      'li',
      { class: isLead ? 'run-item lead' : 'run-item' },
      box,
      h(
        'span',
        { attrs: { 'aria-hidden': 'true' } },
        shown && slot !== undefined ? legendMark(styleOf(theme, slot)) : undefined,
      ),
      h(
        'span',
        {},
        name,
        h('span', { class: 'run-note', text: note.join(' · ') }),
        run.best !== undefined &&
          h('div', {
            class: 'run-note',
            text: `validation best ${formatNumber(run.best.validationLoss)}`,
          }),
        causes.length > 0 &&
          h('span', {
            class: 'run-note run-warning',
            text: `Not comparable: other ${causes.join(', ')}`,
          }),
      ),
    );
  }
}
