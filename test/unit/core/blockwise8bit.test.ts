import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  adamW8bitStep,
  blockCount,
  CodeBook,
  signedBook,
  unsignedBook,
  zeroMoment,
} from '../../../src/core/blockwise8bit';
import { Rng } from '../../../src/core/rng';

interface State {
  parameters: number[];
  m_codes: number[];
  v_codes: number[];
  m_scale: number[];
  v_scale: number[];
}
// Made by test/fixtures/optimizer/make.py with PyTorch, in float64.
const reference = JSON.parse(readFileSync('test/fixtures/optimizer/adamw8bit.json', 'utf8')) as {
  options: { lr: number; beta1: number; beta2: number; epsilon: number; weight_decay: number };
  signed: number[];
  unsigned: number[];
  start: number[];
  gradients: number[][];
  states: State[];
};

/** Share of equal codes, and the largest distance. */
function compare(ours: Uint8Array, theirs: number[]): { equal: number; furthest: number } {
  const distances = theirs.map((code, i) => Math.abs(code - ours[i]!));
  return {
    equal: distances.filter((d) => d === 0).length / theirs.length,
    furthest: Math.max(...distances),
  };
}

describe('8-bit AdamW', () => {
  it('has the dynamic maps', () => {
    for (const [book, map] of [
      [signedBook, reference.signed],
      [unsignedBook, reference.unsigned],
    ] as const) {
      expect(book.values).toHaveLength(256);
      map.forEach((value, k) => expect(book.values[k]).toBeCloseTo(value, 7));
    }
  });

  it('finds the nearest code of any value', () => {
    const rng = new Rng(1, 'codes');
    for (const signed of [true, false]) {
      const book = new CodeBook(signed);
      const samples = [0, 1, ...book.values, ...Array.from({ length: 5000 }, () => rng.normal())];
      for (const sample of samples) {
        const x = Math.fround(
          Math.max(-1, Math.min(1, sample * 10 ** -Math.floor(7 * rng.uniform()))),
        );
        if (!signed && x < 0) continue;
        const code = book.nearest(x);
        const distance = Math.abs(x - book.values[code]!);
        const best = Math.min(...book.values.map((v) => Math.abs(x - v)));
        expect(distance).toBe(best);
      }
    }
  });

  it('follows the reference over three steps', () => {
    const { options, start, gradients, states } = reference;
    const size = start.length;
    const parameters = Float32Array.from(start);
    const first = zeroMoment(size, blockCount(size), signedBook);
    const second = zeroMoment(size, blockCount(size), unsignedBook);
    gradients.forEach((gradient, i) => {
      const step = i + 1;
      adamW8bitStep(parameters, Float32Array.from(gradient), first, second, {
        clip: 1,
        decay: 1 - options.lr * options.weight_decay,
        beta1: options.beta1,
        beta2: options.beta2,
        stepSize: options.lr / (1 - options.beta1 ** step),
        correction2: Math.sqrt(1 - options.beta2 ** step),
        epsilon: options.epsilon,
      });
      const expected = states[i]!;
      // Moments that lie on a threshold in float64 may fall on its other side in float32: rare, one code.
      for (const [moment, codes, scale] of [
        [first, expected.m_codes, expected.m_scale],
        [second, expected.v_codes, expected.v_scale],
      ] as const) {
        const { equal, furthest } = compare(moment.codes, codes);
        expect(equal).toBeGreaterThan(0.995);
        expect(furthest).toBeLessThanOrEqual(1);
        scale.forEach((value, b) => {
          expect(Math.abs(moment.absmax[b]! / value - 1)).toBeLessThan(1e-5);
        });
      }
      // Moves of up to lr = 1e-2 a step; a code that fell on the other side changes one by 1 %.
      const off = expected.parameters.filter((p, k) => Math.abs(p - parameters[k]!) > 1e-6);
      expect(off.length).toBeLessThan(0.005 * size);
      expected.parameters.forEach((p, k) => {
        expect(Math.abs(p - parameters[k]!)).toBeLessThan(3e-4);
      });
    });
  });
});
