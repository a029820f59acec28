/** Columns of doubles that grow together; appending costs amortised constant time a row. */
export class ColumnStore<Name extends string> {
  length = 0;
  /** Increases whenever rows are removed, so that caches know to start over. */
  generation = 0;
  private readonly buffers: Map<Name, Float64Array>;

  constructor(readonly names: readonly Name[]) {
    this.buffers = new Map(names.map((name) => [name, new Float64Array(0)]));
  }

  /** The buffer of a column; only `[0, length)` is meaningful, and it is replaced on growth. */
  column(name: Name): Float64Array {
    const buffer = this.buffers.get(name);
    if (buffer === undefined) throw new Error(`no column ${name}`);
    return buffer;
  }

  append(rows: Readonly<Record<Name, Float64Array>>): void {
    const added = rows[this.names[0] as Name].length;
    for (const name of this.names) {
      let buffer = this.column(name);
      if (buffer.length < this.length + added) {
        const grown = new Float64Array(Math.max(1024, (this.length + added) * 2));
        grown.set(buffer.subarray(0, this.length));
        buffer = grown;
        this.buffers.set(name, buffer);
      }
      buffer.set(rows[name], this.length);
    }
    this.length += added;
  }

  /** Drops every row from `length` on. */
  truncate(length: number): void {
    if (length >= this.length) return;
    this.length = Math.max(0, length);
    this.generation += 1;
  }
}
