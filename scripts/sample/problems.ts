/** Arithmetic problems, and which split of the task each one belongs to. */
import type { Random } from './random';
import { drawSum, type Sum } from './world';

export const splits = ['train', 'validation', 'test'] as const;
export type Split = (typeof splits)[number];

/** `7 plus 8 minus 3`: the problem, apart from the words around it. */
export function expression(sums: readonly Sum[]): string {
  return `${sums[0]!.left}${sums.map(({ operation, right }) => ` ${operation} ${right}`).join('')}`;
}

/** One problem in 5 goes to test, one in 20 to validation, by a hash of its expression. */
export function splitOf(problem: string): Split {
  // FNV-1a, 32 bits.
  let hash = 0x811c9dc5;
  for (let i = 0; i < problem.length; i += 1) {
    hash = Math.imul(hash ^ problem.charCodeAt(i), 0x01000193);
  }
  const slot = (hash >>> 0) % 20;
  if (slot < 4) return 'test';
  return slot === 4 ? 'validation' : 'train';
}

/**
 * Sums that each continue from the last result.
 * @param hidden a split whose problems must not be worked out: no two neighbours form one of them
 */
export function drawChain(random: Random, length: number, hidden?: Split): Sum[] {
  const chain = [drawSum(random)];
  while (chain.length < length) {
    const last = chain[chain.length - 1]!;
    const next = drawSum(random, last.result);
    if (hidden === undefined || splitOf(expression([last, next])) !== hidden) chain.push(next);
  }
  return chain;
}
