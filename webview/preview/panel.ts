/** The dataset preview: what would be trained on, token by token, before any training. */
import type {
  DatasetReport,
  PreviewPage,
  PreviewSettings,
  RowFlag,
} from '../../src/protocol/datasetPreview';
import type { SerializedError } from '../../src/protocol/errors';
import {
  pageSize,
  parsePreviewHostMessage,
  parsePreviewSource,
  type PreviewHostMessage,
  type PreviewSource,
  type PreviewViewMessage,
} from '../../src/protocol/previewPanel';
import { button, h, icon, replaceChildren, setAttr, setText } from '../shared/dom';
import { connect, type EditorApi } from '../shared/editorApi';
import { formatInteger } from '../shared/format';
import { Counts } from './counts';
import { flagTexts } from './flags';
import { Histogram } from './histogram';
import { rowElement } from './rows';
import { TrialForm } from './trial';

interface Kept {
  source: PreviewSource | undefined;
}

export function startPreview(root: HTMLElement): void {
  new PreviewView(root);
}

class PreviewView {
  readonly #api: EditorApi<PreviewViewMessage, Kept>;
  #settings: PreviewSettings | undefined;
  #report: DatasetReport | undefined;
  #page: PreviewPage | undefined;
  #offset = 0;
  #filter: RowFlag | undefined;
  #counting = false;
  #cancelled = false;

  readonly #title = h('h1', { text: 'Dataset Preview' });
  readonly #facts = h('p', { class: 'facts muted small' });
  readonly #trial: TrialForm;
  readonly #progress = h('div', { class: 'progress', attrs: { hidden: true } });
  readonly #bar = h('div', { class: 'progress-bar' });
  readonly #progressText = h('span');
  readonly #reload: HTMLButtonElement;
  readonly #error = h('div', {
    class: 'notice error',
    attrs: { role: 'alert', hidden: true },
  });
  readonly #counts: Counts;
  readonly #histogram = new Histogram();
  readonly #rowsTitle = h('h2', { text: 'Rows' });
  readonly #rows = h('ol', { class: 'rows', attrs: { 'aria-busy': 'true' } });
  readonly #place = h('span', { class: 'number', attrs: { 'aria-live': 'polite' } });
  readonly #previous: HTMLButtonElement;
  readonly #next: HTMLButtonElement;
  readonly #goto = h('input', {
    attrs: { type: 'number', min: 1, step: 1, 'aria-label': 'Go to row' },
  });

  constructor(root: HTMLElement) {
    this.#api = connect(
      parsePreviewHostMessage,
      (raw): Kept => ({ source: parsePreviewSource((raw as Partial<Kept> | undefined)?.source) }),
      (message) => {
        this.#receive(message);
      },
    );
    this.#trial = new TrialForm((trial) => {
      this.#api.post({ type: 'try', trial });
    });
    this.#counts = new Counts((flag) => {
      this.#go(0, this.#filter === flag ? undefined : flag);
    });
    this.#reload = button(
      'Read Again',
      () => {
        this.#api.post({ type: 'reload' });
      },
      { icon: 'refresh', kind: 'tool', title: 'Read the file again' },
    );
    this.#previous = button(
      'Previous',
      () => {
        this.#go(Math.max(0, this.#offset - pageSize), this.#filter);
      },
      { icon: 'chevron-left' },
    );
    this.#next = button(
      'Next',
      () => {
        this.#go(this.#offset + pageSize, this.#filter);
      },
      { icon: 'chevron-right' },
    );
    this.#goto.addEventListener('change', () => {
      const row = Number(this.#goto.value);
      if (Number.isSafeInteger(row) && row >= 1) this.#go(row - 1, undefined);
    });
    replaceChildren(root, this.#layout());
    this.#showRows();
    this.#api.post({ type: 'ready' });
  }

  #layout(): HTMLElement {
    replaceChildren(
      this.#progress,
      h('div', { class: 'progress-track', attrs: { 'aria-hidden': 'true' } }, this.#bar),
      h(
        'div',
        { class: 'progress-text small' },
        this.#progressText,
        button('Cancel', () => {
          this.#api.post({ type: 'cancel' });
        }),
      ),
    );
    return h(
      'main',
      { class: 'panel preview' },
      h(
        'header',
        { class: 'head' },
        h('div', { class: 'head-line' }, this.#title, this.#reload),
        this.#facts,
      ),
      h('div', { class: 'toolbar' }, this.#trial.element, h('span', { class: 'spring' }), legend()),
      this.#error,
      this.#progress,
      this.#counts.element,
      this.#histogram.element,
      h(
        'div',
        { class: 'rows-head' },
        this.#rowsTitle,
        h('span', { class: 'spring' }),
        h('label', { class: 'field' }, h('span', { class: 'muted', text: 'Row' }), this.#goto),
        this.#previous,
        this.#place,
        this.#next,
      ),
      this.#rows,
    );
  }

  #go(offset: number, filter: RowFlag | undefined): void {
    this.#api.post({ type: 'page', offset, ...(filter === undefined ? {} : { filter }) });
  }

  #receive(message: PreviewHostMessage): void {
    switch (message.type) {
      case 'init':
        this.#api.save({ source: message.source });
        this.#report = undefined;
        this.#page = undefined;
        this.#filter = undefined;
        this.#offset = 0;
        this.#showError(undefined);
        this.#showRows();
        break;
      case 'settings':
        this.#settings = message.settings;
        this.#trial.show(message.settings);
        this.#showHead();
        break;
      case 'page':
        this.#page = message.page;
        this.#filter = message.filter;
        this.#offset = message.offset;
        this.#showRows();
        break;
      case 'report':
        this.#report = message.report;
        break;
      case 'busy':
        if (message.task === 'count') {
          this.#counting = message.running;
          this.#cancelled = message.cancelled;
        } else setAttr(this.#rows, 'aria-busy', String(message.running));
        break;
      case 'error':
        this.#showError(message.error);
        break;
    }
    this.#showCounts();
  }

  #showHead(): void {
    const settings = this.#settings;
    if (settings === undefined) return;
    setText(this.#title, settings.file.split(/[\\/]/).at(-1) ?? settings.file);
    setAttr(this.#title, 'title', settings.file);
    const model = settings.model.split(/[\\/]/).at(-1) ?? settings.model;
    replaceChildren(
      this.#facts,
      h('span', { text: `Tokenizer of ${model}`, attrs: { title: settings.model } }),
      h('span', { text: `Longer rows: ${settings.truncation}` }),
    );
  }

  #showCounts(): void {
    const report = this.#report;
    this.#counts.show(report, this.#filter);
    if (report !== undefined) this.#histogram.show(report, this.#settings?.maxLength);
    const partial = this.#counting || (report?.partial === true && this.#cancelled);
    setAttr(this.#progress, 'hidden', !partial);
    const fraction = report?.fraction ?? 0;
    this.#bar.style.transform = `scaleX(${fraction})`;
    setText(
      this.#progressText,
      this.#counting
        ? `Partial: counted ${formatInteger(report?.rows ?? 0)} rows, ${Math.floor(100 * fraction)} % of the file`
        : `Partial: counting was cancelled at ${Math.floor(100 * fraction)} % of the file`,
    );
    const cancel = this.#progress.querySelector('button');
    if (cancel !== null) setAttr(cancel, 'hidden', !this.#counting);
  }

  #showRows(): void {
    const page = this.#page;
    setAttr(this.#rows, 'aria-busy', String(page === undefined));
    const filter = this.#filter;
    setText(this.#rowsTitle, filter === undefined ? 'Rows' : `Rows: ${flagTexts[filter].label}`);
    setAttr(this.#previous, 'disabled', page === undefined || this.#offset === 0);
    setAttr(this.#next, 'disabled', page?.more !== true);
    if (page === undefined) {
      setText(this.#place, '');
      replaceChildren(
        this.#rows,
        h('li', { class: 'waiting muted' }, icon('loading'), h('span', { text: 'Reading rows …' })),
      );
      return;
    }
    const last = this.#offset + page.rows.length;
    setText(
      this.#place,
      page.rows.length === 0 ? 'none' : `${formatInteger(this.#offset + 1)}–${formatInteger(last)}`,
    );
    const none = h('li', { class: 'waiting muted', text: 'No rows here.' });
    replaceChildren(
      this.#rows,
      ...(page.rows.length === 0
        ? [none]
        : page.rows.map((row) =>
            rowElement(row, (line) => {
              this.#api.post({ type: 'openRow', line });
            }),
          )),
    );
  }

  #showError(error: SerializedError | undefined): void {
    setAttr(this.#error, 'hidden', error === undefined);
    if (error === undefined) return;
    replaceChildren(
      this.#error,
      icon('error'),
      h(
        'div',
        { class: 'body' },
        h('p', { text: error.message }),
        error.where !== undefined && h('p', { class: 'muted small', text: error.where }),
        error.next !== undefined && h('p', { text: error.next }),
      ),
    );
    if (this.#page === undefined) {
      replaceChildren(this.#rows, h('li', { class: 'waiting muted', text: 'No rows to show.' }));
      setAttr(this.#rows, 'aria-busy', 'false');
    }
  }
}

/** What the marks mean, drawn as the tokens are. */
function legend(): HTMLElement {
  const sample = (kind: string, text: string): HTMLElement =>
    h('span', { class: 'tokens legend-sample' }, h('span', { class: kind, text }));
  return h(
    'div',
    { class: 'legend small' },
    sample('run trained', 'trained on'),
    sample('run context', 'context'),
    h(
      'span',
      { class: 'tokens legend-sample' },
      h('span', { class: 'token special', text: 'special' }),
    ),
  );
}
