/**
 * Just enough of a WebAssembly assembler for loops over vectors: expressions and statements are byte
 * sequences that concatenate. Encoding: WebAssembly Core Specification 2.0, chapter 5.
 */

/** Instructions in their binary form; an expression leaves its value on the stack. */
export type Code = readonly number[];
export type ValueType = 'i32' | 'f64' | 'v128';

const typeByte: Readonly<Record<ValueType, number>> = { i32: 0x7f, f64: 0x7c, v128: 0x7b };
const SIMD = 0xfd;
const EMPTY = 0x40;

/** Unsigned LEB128. */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  do {
    const more = value > 0x7f ? 0x80 : 0;
    bytes.push((value & 0x7f) | more);
    value >>>= 7;
  } while (value > 0);
  return bytes;
}

/** Signed LEB128. */
function signed(value: number): number[] {
  const bytes: number[] = [];
  for (;;) {
    const byte = value & 0x7f;
    value >>= 7;
    if ((value === 0 && (byte & 0x40) === 0) || (value === -1 && (byte & 0x40) !== 0))
      return [...bytes, byte];
    bytes.push(byte | 0x80);
  }
}

/** All data is aligned to eight bytes (2^3) unless it is smaller. */
const at = (offset: number): number[] => [3, ...unsigned(offset)];

export const i32 = {
  const: (value: number): Code => [0x41, ...signed(value)],
  add: (a: Code, b: Code): Code => [...a, ...b, 0x6a],
  sub: (a: Code, b: Code): Code => [...a, ...b, 0x6b],
  less: (a: Code, b: Code): Code => [...a, ...b, 0x48],
};

export const f64 = {
  load: (address: Code, offset = 0): Code => [...address, 0x2b, ...at(offset)],
  store: (address: Code, value: Code, offset = 0): Code => [
    ...address,
    ...value,
    0x39,
    ...at(offset),
  ],
  zero: [0x44, 0, 0, 0, 0, 0, 0, 0, 0] as Code,
  add: (a: Code, b: Code): Code => [...a, ...b, 0xa0],
  sub: (a: Code, b: Code): Code => [...a, ...b, 0xa1],
  mul: (a: Code, b: Code): Code => [...a, ...b, 0xa2],
};

/** Sixteen bytes, whatever they stand for. */
export const v128 = {
  load: (address: Code, offset = 0): Code => [...address, SIMD, 0x00, ...at(offset)],
  store: (address: Code, value: Code, offset = 0): Code => [
    ...address,
    ...value,
    SIMD,
    0x0b,
    ...at(offset),
  ],
  const: (bytes: readonly number[]): Code => [SIMD, 0x0c, ...bytes],
  and: (a: Code, b: Code): Code => [...a, ...b, SIMD, 0x4e],
};

/** Sixteen bytes side by side. */
export const i8x16 = {
  /** The bytes of `table` at the places that `indices` name. */
  swizzle: (table: Code, indices: Code): Code => [...table, ...indices, SIMD, 0x0e],
  /** @param lanes of sixteen bytes: 0 to 15 of `a`, 16 to 31 of `b` */
  shuffle: (a: Code, b: Code, lanes: readonly number[]): Code => [...a, ...b, SIMD, 0x0d, ...lanes],
  shiftRight: (a: Code, bits: number): Code => [...a, ...i32.const(bits), SIMD, 0x6d],
};

/** Four floats side by side. */
export const f32x4 = {
  /** One float from memory, aligned to four bytes, in all lanes. */
  loadSplat: (address: Code): Code => [...address, SIMD, 0x09, 2, 0],
  mul: (a: Code, b: Code): Code => [...a, ...b, SIMD, 0xe6, 0x01],
};

/** Two doubles side by side. */
export const f64x2 = {
  load: v128.load,
  /** One double from memory in both lanes. */
  loadSplat: (address: Code, offset = 0): Code => [...address, SIMD, 0x0a, ...at(offset)],
  store: v128.store,
  splat: (value: Code): Code => [...value, SIMD, 0x14],
  lane: (value: Code, lane: 0 | 1): Code => [...value, SIMD, 0x21, lane],
  add: (a: Code, b: Code): Code => [...a, ...b, SIMD, 0xf0, 0x01],
  sub: (a: Code, b: Code): Code => [...a, ...b, SIMD, 0xf1, 0x01],
  mul: (a: Code, b: Code): Code => [...a, ...b, SIMD, 0xf2, 0x01],
};

/** A parameter or local variable. */
export class Local {
  constructor(
    readonly index: number,
    readonly type: ValueType,
  ) {}

  get get(): Code {
    return [0x20, ...unsigned(this.index)];
  }

  set(value: Code): Code {
    return [...value, 0x21, ...unsigned(this.index)];
  }
}

/** `while (condition) body`. */
export function whileLoop(condition: Code, ...body: readonly Code[]): Code {
  // block { loop { if not condition leave the block; body; again } }
  return [
    0x02,
    EMPTY,
    0x03,
    EMPTY,
    ...condition,
    0x45,
    0x0d,
    1,
    ...body.flat(),
    0x0c,
    0,
    0x0b,
    0x0b,
  ];
}

/** A function without results. */
export class FunctionBuilder {
  private readonly params: ValueType[] = [];
  private readonly locals: ValueType[] = [];
  private body: Code = [];

  constructor(readonly name: string) {}

  param(type: ValueType): Local {
    if (this.locals.length > 0) throw new Error('Parameters come before locals.');
    this.params.push(type);
    return new Local(this.params.length - 1, type);
  }

  local(type: ValueType): Local {
    this.locals.push(type);
    return new Local(this.params.length + this.locals.length - 1, type);
  }

  code(...body: readonly Code[]): this {
    this.body = body.flat();
    return this;
  }

  get signature(): number[] {
    return [0x60, ...vector(this.params.map((t) => [typeByte[t]])), 0];
  }

  get definition(): number[] {
    const content = [...vector(this.locals.map((t) => [1, typeByte[t]])), ...this.body, 0x0b];
    return [...unsigned(content.length), ...content];
  }
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...unsigned(content.length), ...content];
}

function name(text: string): number[] {
  return vector(Array.from(text, (c) => [c.charCodeAt(0)]));
}

/** A module that imports `env.memory` and exports its functions by name. */
export function assemble(functions: readonly FunctionBuilder[]): Uint8Array {
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(functions.map((f) => f.signature))),
    ...section(2, vector([[...name('env'), ...name('memory'), 0x02, 0x00, 1]])),
    ...section(3, vector(functions.map((_, k) => unsigned(k)))),
    ...section(7, vector(functions.map((f, k) => [...name(f.name), 0x00, ...unsigned(k)]))),
    ...section(10, vector(functions.map((f) => f.definition))),
  ]);
}
