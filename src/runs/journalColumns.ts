/** The curves of a run as columns of doubles that grow and, after a resume, are cut back. */

export const stepFields = [
  'step',
  'epoch',
  'loss',
  'learningRate',
  'gradNorm',
  'tokens',
  'tokensPerSecond',
  'rssMb',
  'elapsed',
  /** Only of runs on a GPU; NaN in other rows. */
  'deviceMb',
] as const;
export const evalFields = ['step', 'loss', 'tokens', 'elapsed'] as const;

/** Rows of named numbers, stored by column; `step` never decreases. */
export class Columns<Field extends string> {
  readonly fields: readonly Field[];
  readonly #columns: Record<Field, Float64Array>;
  /** The same columns in the order of `fields`. */
  #ordered: Float64Array[];
  #length = 0;
  #capacity: number;

  constructor(fields: readonly Field[], capacity = 1024) {
    this.fields = fields;
    this.#capacity = capacity;
    this.#columns = Object.fromEntries(
      fields.map((field) => [field, new Float64Array(capacity)]),
    ) as Record<Field, Float64Array>;
    this.#ordered = fields.map((field) => this.#columns[field]);
  }

  get length(): number {
    return this.#length;
  }

  /** Appends one row; what is not a number becomes NaN (a gap in the chart). */
  push(row: Readonly<Record<string, unknown>>): void {
    if (this.#length === this.#capacity) this.#grow();
    for (const field of this.fields) {
      const value = row[field];
      this.#columns[field][this.#length] = typeof value === 'number' ? value : NaN;
    }
    this.#length += 1;
  }

  /** Appends one row of values in the order of `fields`, from `values[start]` on. */
  pushValues(values: Float64Array, start: number): void {
    if (this.#length === this.#capacity) this.#grow();
    for (let i = 0; i < this.#ordered.length; i += 1) {
      (this.#ordered[i] as Float64Array)[this.#length] = values[start + i] as number;
    }
    this.#length += 1;
  }

  /** A view of a column's rows from `start`; valid until the next push. */
  column(field: Field, start = 0): Float64Array {
    return this.#columns[field].subarray(start, this.#length);
  }

  /** Drops the rows whose step lies above `step`. */
  dropAbove(field: Field, step: number): void {
    const column = this.#columns[field];
    while (this.#length > 0 && !((column[this.#length - 1] ?? 0) <= step)) this.#length -= 1;
  }

  clear(): void {
    this.#length = 0;
  }

  /** Makes room for so many more rows at once. */
  reserve(rows: number): void {
    if (this.#length + rows > this.#capacity) this.#grow(this.#length + rows);
  }

  #grow(capacity = 2 * this.#capacity): void {
    this.#capacity = capacity;
    for (const field of this.fields) {
      const larger = new Float64Array(this.#capacity);
      larger.set(this.#columns[field]);
      this.#columns[field] = larger;
    }
    this.#ordered = this.fields.map((field) => this.#columns[field]);
  }
}
