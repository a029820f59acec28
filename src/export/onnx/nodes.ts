/** ONNX nodes one after the other, with shapes that are known only when the model runs. */
import type { Attribute, Initializer, OnnxNode } from '../../graph/onnx';

export class Nodes {
  readonly nodes: OnnxNode[] = [];
  readonly constants: Initializer[] = [];
  private readonly known = new Map<string, string>();

  /** Appends a node with one output. @returns the output's name */
  add(op: string, inputs: readonly string[], attributes: readonly Attribute[] = []): string {
    const name = `v${this.nodes.length}`;
    this.nodes.push({ op, inputs, outputs: [name], attributes });
    return name;
  }

  /** Two halves along the last axis. */
  halves(input: string): [string, string] {
    const name = `v${this.nodes.length}`;
    const outputs = [`${name}a`, `${name}b`] as const;
    const attributes = [
      { name: 'axis', int: -1 },
      { name: 'num_outputs', int: 2 },
    ];
    this.nodes.push({ op: 'Split', inputs: [input], outputs, attributes });
    return [...outputs];
  }

  /** Gives a value the name of a graph output. */
  name(output: string, value: string): void {
    this.nodes.push({ op: 'Identity', inputs: [value], outputs: [output], attributes: [] });
  }

  /** A one-dimensional int64 constant, as shapes and axes are. */
  ints(...values: readonly number[]): string {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.constant(`int64:${values.join()}`, 'int64', [values.length], bytes);
  }

  intScalar(value: number): string {
    const bytes = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
    return this.constant(`int64 scalar:${value}`, 'int64', [], bytes);
  }

  float(value: number): string {
    const bytes = new Uint8Array(Float32Array.of(value).buffer);
    return this.constant(`float:${value}`, 'float32', [], bytes);
  }

  floats(values: Float32Array, shape: readonly number[]): string {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return this.constant(`floats:${this.constants.length}`, 'float32', shape, bytes);
  }

  reshape(value: string, ...shape: readonly number[]): string {
    return this.add('Reshape', [value, this.ints(...shape)]);
  }

  transpose(value: string, ...perm: readonly number[]): string {
    return this.add('Transpose', [value], [{ name: 'perm', ints: perm }]);
  }

  concat(values: readonly string[], axis: number): string {
    return this.add('Concat', values, [{ name: 'axis', int: axis }]);
  }

  /** One dimension of a value, `[1]` int64. */
  dimension(value: string, axis: number): string {
    return this.add('Gather', [this.add('Shape', [value]), this.ints(axis)]);
  }

  private constant(
    key: string,
    dtype: 'int64' | 'float32',
    shape: readonly number[],
    bytes: Uint8Array,
  ): string {
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const name = `c${this.constants.length}`;
    this.constants.push({ name, dtype, shape, bytes });
    this.known.set(key, name);
    return name;
  }
}
