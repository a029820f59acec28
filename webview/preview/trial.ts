/** Options that can be tried here without touching the configuration. */
import type { PreviewSettings } from '../../src/protocol/datasetPreview';
import { previewMasks, previewTemplates, type PreviewTrial } from '../../src/protocol/previewPanel';
import { h } from '../shared/dom';

export class TrialForm {
  readonly element: HTMLElement;
  readonly #template = select('Template', previewTemplates);
  readonly #mask = select('Loss mask', previewMasks);
  readonly #length = h('input', {
    attrs: { type: 'number', min: 1, step: 1, 'aria-label': 'Max length in tokens' },
  });

  constructor(onTry: (trial: PreviewTrial) => void) {
    const changed = (): void => {
      const maxLength = Number(this.#length.value);
      if (!Number.isSafeInteger(maxLength) || maxLength < 1) return;
      onTry({
        template: this.#template.value as PreviewTrial['template'],
        lossMask: this.#mask.value as PreviewTrial['lossMask'],
        maxLength,
      });
    };
    for (const control of [this.#template, this.#mask, this.#length]) {
      control.addEventListener('change', changed);
    }
    this.element = h(
      'div',
      {
        class: 'trial',
        attrs: { role: 'group', 'aria-label': 'Options to try; the configuration stays as it is' },
      },
      field('Template', this.#template),
      field('Loss mask', this.#mask),
      field('Max length', this.#length),
    );
  }

  show({ template, lossMask, maxLength }: PreviewSettings): void {
    this.#template.value = template;
    this.#mask.value = lossMask;
    if (document.activeElement !== this.#length) this.#length.value = String(maxLength);
  }
}

function select(label: string, options: readonly string[]): HTMLSelectElement {
  return h(
    'select',
    { attrs: { 'aria-label': label } },
    ...options.map((value) => h('option', { text: value, attrs: { value } })),
  );
}

function field(label: string, control: HTMLElement): HTMLElement {
  return h('label', { class: 'field' }, h('span', { class: 'muted', text: label }), control);
}
