/** Compares logits that two programs wrote. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { runNodeJudge } from '../support/judges';

export const judges = path.join(import.meta.dirname, 'judges');

/** Runs a judge of this folder in Node and returns the JSON of its last line. */
export function runNode(script: string, args: readonly string[]): Record<string, unknown> {
  return runNodeJudge(path.join(judges, script), args);
}

/** Logits `[tokens, vocabulary]` that a judge wrote. */
export function readLogits(file: string): Float32Array {
  return new Float32Array(new Uint8Array(readFileSync(file)).buffer);
}

export interface Agreement {
  largest: number;
  /** Root mean square of the difference over that of the reference. */
  relative: number;
  /** Root mean square of the difference. */
  typical: number;
  /** Largest margin between the reference's two best tokens where another one is best. */
  marginOfFlips: number;
}

export function compare(own: Float32Array, reference: Float32Array, vocabulary: number): Agreement {
  expect(own.length).toBe(reference.length);
  let [largest, squares, scale, marginOfFlips] = [0, 0, 0, 0];
  for (let begin = 0; begin < own.length; begin += vocabulary) {
    const [a, b] = [own, reference].map((x) => x.subarray(begin, begin + vocabulary));
    for (let i = 0; i < vocabulary; i++) {
      const difference = Math.abs(a![i]! - b![i]!);
      largest = Math.max(largest, difference);
      squares += difference ** 2;
      scale += b![i]! ** 2;
    }
    const best = b!.indexOf(Math.max(...b!));
    if (a!.indexOf(Math.max(...a!)) === best) continue;
    const second = Math.max(...b!.filter((_, i) => i !== best));
    marginOfFlips = Math.max(marginOfFlips, b![best]! - second);
  }
  const typical = Math.sqrt(squares / own.length);
  return { largest, relative: Math.sqrt(squares / scale), typical, marginOfFlips };
}
