/**
 * NF4 codes to fp32 in WebAssembly SIMD, 16 bytes of codes at a time: the table's sixteen floats lie in
 * four vectors, one for each byte of a float, from which a lookup of bytes takes all lanes at once. The
 * products are those of the plain loop in `nf4.ts`, bit by bit.
 */
import {
  assemble,
  type Code,
  f32x4,
  FunctionBuilder,
  i32,
  i8x16,
  type Local,
  v128,
  whileLoop,
} from './simd/assembler';

/** Weights of a block, and the bytes of their codes and values. */
export const KERNEL_BLOCK = 64;
const CODE_BYTES = KERNEL_BLOCK / 2;
const VALUE_BYTES = 4 * KERNEL_BLOCK;

/** Blocks that are widened at once: all of it stays in the second-level cache. */
const BLOCKS = 512;
const codesAt = 0;
const scalesAt = BLOCKS * CODE_BYTES;
const valuesAt = scalesAt + 4 * BLOCKS;
const PAGE = 65536;

/**
 * @param codes two a byte, the first in the high nibble
 * @param scaleOf the scale of a block
 * @param blocks how many, of 64 weights each
 * @param out at least 64 numbers a block long
 */
export type Widen = (
  codes: Uint8Array,
  scaleOf: (block: number) => number,
  blocks: number,
  out: Float32Array,
) => void;

let known: { widen: Widen | undefined } | undefined;

/** @returns undefined where WebAssembly or its SIMD is missing */
export function nf4Kernel(table: Float32Array): Widen | undefined {
  known ??= { widen: open(table) };
  return known.widen;
}

function open(table: Float32Array): Widen | undefined {
  let memory: WebAssembly.Memory;
  let instance: WebAssembly.Instance;
  try {
    const bytes = assemble([widenFunction(table)]);
    memory = new WebAssembly.Memory({
      initial: Math.ceil((valuesAt + BLOCKS * VALUE_BYTES) / PAGE),
    });
    instance = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), {
      env: { memory },
    });
  } catch {
    return undefined;
  }
  const run = instance.exports['widen'] as (...args: number[]) => void;
  const heldCodes = new Uint8Array(memory.buffer, codesAt, BLOCKS * CODE_BYTES);
  const heldScales = new Float32Array(memory.buffer, scalesAt, BLOCKS);
  const heldValues = new Float32Array(memory.buffer, valuesAt, BLOCKS * KERNEL_BLOCK);
  return (codes, scaleOf, blocks, out) => {
    for (let from = 0; from < blocks; from += BLOCKS) {
      const count = Math.min(BLOCKS, blocks - from);
      heldCodes.set(codes.subarray(from * CODE_BYTES, (from + count) * CODE_BYTES));
      for (let b = 0; b < count; b++) heldScales[b] = scaleOf(from + b);
      run(codesAt, codesAt + count * CODE_BYTES, scalesAt, valuesAt);
      const values = heldValues.subarray(0, count * KERNEL_BLOCK);
      out.set(values, from * KERNEL_BLOCK);
    }
  };
}

/** `widen(codes, end of codes, scales, values)`, in bytes of the memory. */
function widenFunction(table: Float32Array): FunctionBuilder {
  const f = new FunctionBuilder('widen');
  const codes = f.param('i32');
  const end = f.param('i32');
  const scales = f.param('i32');
  const values = f.param('i32');
  const scale = f.local('v128');
  const packed = f.local('v128');
  const high = f.local('v128');
  const low = f.local('v128');
  const indices = f.local('v128');
  const planes = [0, 1, 2, 3].map(() => f.local('v128'));
  const found = [0, 1, 2, 3].map(() => f.local('v128'));
  const pairs = [0, 1].map(() => f.local('v128'));
  const bytes = new Uint8Array(Float32Array.from(table).buffer);
  const plane = (k: number): Code =>
    v128.const(Array.from({ length: 16 }, (_, code) => bytes[4 * code + k] as number));

  /** Every other unit of `size` bytes from `a` and from `b`, of the first or the second half. */
  const interleave = (a: Local, b: Local, half: number, size: number): Code =>
    i8x16.shuffle(
      a.get,
      b.get,
      Array.from({ length: 16 }, (_, i) => {
        const unit = Math.floor(i / (2 * size)) + (half * 8) / size;
        const side = Math.floor(i / size) % 2;
        return 16 * side + unit * size + (i % size);
      }),
    );
  /** Sixteen codes to sixteen floats. */
  const widenHalf = (half: number, offset: number): Code => [
    ...indices.set(interleave(high, low, half, 1)),
    ...planes.flatMap((p, k) => (found[k] as Local).set(i8x16.swizzle(p.get, indices.get))),
    ...[0, 1].flatMap((part) => [
      ...(pairs[0] as Local).set(interleave(found[0] as Local, found[1] as Local, part, 1)),
      ...(pairs[1] as Local).set(interleave(found[2] as Local, found[3] as Local, part, 1)),
      ...[0, 1].flatMap((quarter) =>
        v128.store(
          values.get,
          f32x4.mul(interleave(pairs[0] as Local, pairs[1] as Local, quarter, 2), scale.get),
          offset + 32 * part + 16 * quarter,
        ),
      ),
    ]),
  ];
  const sixteenBytes = (k: number): Code => [
    ...packed.set(v128.load(codes.get, 16 * k)),
    ...high.set(i8x16.shiftRight(packed.get, 4)),
    ...low.set(v128.and(packed.get, v128.const(Array<number>(16).fill(15)))),
    ...widenHalf(0, 128 * k),
    ...widenHalf(1, 128 * k + 64),
  ];
  const advance = (place: Local, by: number): Code => place.set(i32.add(place.get, i32.const(by)));
  return f.code(
    planes.flatMap((p, k) => p.set(plane(k))),
    whileLoop(
      i32.less(codes.get, end.get),
      scale.set(f32x4.loadSplat(scales.get)),
      sixteenBytes(0),
      sixteenBytes(1),
      advance(codes, CODE_BYTES),
      advance(scales, 4),
      advance(values, VALUE_BYTES),
    ),
  );
}
