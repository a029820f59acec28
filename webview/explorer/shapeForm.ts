/** An explicit shape for one module: row and column factors as lists. */
import { button, h, setText } from '../shared/dom';
import { formatInteger } from '../shared/format';

export interface Shape {
  rows: readonly number[];
  cols: readonly number[];
}

/** Reads `8, 8, 4` or `8 8 4` or `8×8×4`; undefined when it holds anything but whole numbers from 1. */
export function parseFactors(text: string): number[] | undefined {
  const parts = text.split(/[\s,;x×·*]+/).filter((part) => part !== '');
  const factors = parts.map(Number);
  return factors.length > 0 && factors.every((f) => Number.isSafeInteger(f) && f >= 1)
    ? factors
    : undefined;
}

/**
 * What is wrong with a shape for a matrix, in a sentence; undefined when nothing is. Products above the
 * size mean zero-padding.
 * @param rowSize what the row factors run over
 */
export function shapeProblem(
  rows: readonly number[] | undefined,
  cols: readonly number[] | undefined,
  rowSize: number,
  colSize: number,
): string | undefined {
  if (rows === undefined || cols === undefined) return 'Factors are whole numbers from 1.';
  if (rows.length !== cols.length) {
    return `${rows.length} row factors, but ${cols.length} column factors.`;
  }
  if (rows.length < 2) return 'A chain has at least two cores.';
  for (const [name, factors, size] of [
    ['row', rows, rowSize],
    ['column', cols, colSize],
  ] as const) {
    const product = factors.reduce((a, b) => a * b, 1);
    if (product < size || product >= 2 * size) {
      return `The ${name} factors multiply to ${formatInteger(product)}; ${formatInteger(size)} are needed, or a little more with zero-padding.`;
    }
  }
  return undefined;
}

export class ShapeForm {
  readonly element: HTMLElement;
  private readonly rows: HTMLInputElement;
  private readonly cols: HTMLInputElement;
  private readonly problem = h('span', { class: 'small', attrs: { role: 'status' } });
  private readonly submit: HTMLButtonElement;
  private sizes: readonly [number, number] = [1, 1];
  private shown = '';

  constructor(onSubmit: (shape: Shape) => void) {
    const field = (): HTMLInputElement =>
      h('input', {
        attrs: { type: 'text', spellcheck: 'false', size: 14 },
        on: {
          input: () => {
            this.check();
          },
        },
      });
    this.rows = field();
    this.cols = field();
    this.submit = button(
      'Decompose with This Shape',
      () => {
        const shape = this.check();
        if (shape !== undefined) onSubmit(shape);
      },
      { icon: 'play' },
    );
    this.element = h(
      'details',
      { class: 'shape' },
      h('summary', { text: 'Shape' }),
      h(
        'div',
        { class: 'shape-body' },
        h('label', { class: 'field' }, 'Row factors i', this.rows),
        h('label', { class: 'field' }, 'Column factors j', this.cols),
        this.submit,
        this.problem,
      ),
    );
  }

  /** Fills the fields anew when the module or its decomposed shape changed, not while one types. */
  update(module: string, shape: Shape, sizes: readonly [number, number]): void {
    this.sizes = sizes;
    const key = JSON.stringify([module, shape]);
    if (key === this.shown) return;
    this.shown = key;
    this.rows.value = shape.rows.join(', ');
    this.cols.value = shape.cols.join(', ');
    this.check();
  }

  private check(): Shape | undefined {
    const rows = parseFactors(this.rows.value);
    const cols = parseFactors(this.cols.value);
    const problem = shapeProblem(rows, cols, ...this.sizes);
    setText(this.problem, problem ?? '');
    this.submit.disabled = problem !== undefined;
    return problem === undefined && rows !== undefined && cols !== undefined
      ? { rows, cols }
      : undefined;
  }
}
