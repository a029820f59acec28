/**
 * Shapes of a matrix product operator: how the rows and columns of a matrix factor into n pairs
 * (i_k, j_k), which bond dimensions that gives, and what a shape costs.
 */
import { DotaError } from '../../protocol/errors';
import type { MpoShape } from './types';

/** Prime factors in ascending order, with multiplicity; `[]` for 1. */
export function primeFactors(value: number): number[] {
  const factors: number[] = [];
  let rest = value;
  for (let p = 2; p * p <= rest; p += p === 2 ? 1 : 2) {
    while (rest % p === 0) {
      factors.push(p);
      rest /= p;
    }
  }
  if (rest > 1) factors.push(rest);
  return factors;
}

export function product(values: readonly number[]): number {
  return values.reduce((a, b) => a * b, 1);
}

/** Pair products P_k = i_k j_k. */
export function pairSizes(shape: MpoShape): number[] {
  return shape.rows.map((i, k) => i * (shape.cols[k] ?? 1));
}

/**
 * Bond dimensions that represent any matrix of this shape exactly, d_1..d_{n-1}:
 * d_k = min(prod_{l<=k} P_l, prod_{l>k} P_l).
 */
export function fullBonds(shape: MpoShape): number[] {
  const pairs = pairSizes(shape);
  return pairs
    .slice(0, -1)
    .map((_, k) => Math.min(product(pairs.slice(0, k + 1)), product(pairs.slice(k + 1))));
}

/** Number of entries of all cores, sum_k d_{k-1} i_k j_k d_k, for bonds d_1..d_{n-1}. */
export function parameterCount(shape: MpoShape, bonds: readonly number[]): number {
  return pairSizes(shape).reduce((sum, p, k) => sum + (bonds[k - 1] ?? 1) * p * (bonds[k] ?? 1), 0);
}

/**
 * Checks a shape against the matrix it is for. A product above the size means zero-padding.
 * @throws DotaError `adapter.shape`
 */
export function validateShape(shape: MpoShape, rows: number, cols: number): void {
  const fail = (message: string): never => {
    throw new DotaError('adapter.shape', message, {
      where: `rows ${shape.rows.join(',')} cols ${shape.cols.join(',')}`,
      next: 'Give row and column factors of equal number whose products are the matrix’s sizes, or leave the shape out to have one chosen.',
    });
  };
  if (shape.rows.length !== shape.cols.length)
    fail(`${shape.rows.length} row factors but ${shape.cols.length} column factors.`);
  if (shape.rows.length < 2) fail('An MPO needs at least two cores.');
  if ([...shape.rows, ...shape.cols].some((f) => !Number.isSafeInteger(f) || f < 1))
    fail('Every factor must be a positive whole number.');
  const check = (name: string, factors: readonly number[], size: number): void => {
    const total = product(factors);
    if (total < size)
      fail(`The ${name} factors multiply to ${total}, but there are ${size} ${name}s.`);
    // Padding is for sizes with large primes; more than double the size is a slip of the pen.
    if (total >= 2 * size && total > size)
      fail(`The ${name} factors multiply to ${total}, more than twice the ${size} ${name}s.`);
  };
  check('row', shape.rows, rows);
  check('column', shape.cols, cols);
}

/**
 * Bond dimensions for a wished rank: one number is clamped to each full bond, a list is taken as it
 * is.
 * @throws DotaError `adapter.rank` when a rank is not a positive integer, a list has the wrong
 *   length, or an entry of a list exceeds its full bond
 */
export function resolveBonds(shape: MpoShape, r: number | readonly number[]): number[] {
  const full = fullBonds(shape);
  const wished = typeof r === 'number' ? full.map(() => r) : [...r];
  if (wished.length !== full.length)
    throw new DotaError(
      'adapter.rank',
      `${wished.length} ranks for ${full.length} bonds (${full.length + 1} cores).`,
      { next: `Give one rank, or ${full.length} of them.` },
    );
  return full.map((limit, k) => {
    const d = wished[k] ?? 0;
    if (!Number.isSafeInteger(d) || d < 1)
      throw new DotaError('adapter.rank', `Rank ${d} is not a positive whole number.`, {
        next: `Choose ranks from 1 to ${limit}.`,
      });
    if (typeof r !== 'number' && d > limit)
      throw new DotaError(
        'adapter.rank',
        `Rank ${d} of bond ${k + 1} exceeds its full bond ${limit}.`,
        {
          next: `Choose at most ${full.join(', ')}.`,
        },
      );
    return Math.min(d, limit);
  });
}

/**
 * All ways to write `value` as a product of `count` factors, each list in descending order; the
 * lists with the smallest leading factors only, as the chooser looks for balanced shapes.
 */
function factorisations(value: number, count: number, limit: number): number[][] {
  const primes = primeFactors(value);
  let lists = new Map<string, number[]>([['start', new Array<number>(count).fill(1)]]);
  // Large primes first: they decide the balance.
  for (const p of primes.reverse()) {
    const next = new Map<string, number[]>();
    for (const list of lists.values()) {
      for (let k = 0; k < count; k++) {
        if (k > 0 && list[k] === list[k - 1]) continue;
        const grown = [...list];
        grown[k] = (grown[k] ?? 1) * p;
        grown.sort((a, b) => b - a);
        next.set(grown.join(), grown);
      }
    }
    lists = next;
    if (lists.size > 4 * limit) lists = new Map(mostBalanced([...lists.values()], 2 * limit));
  }
  return mostBalanced([...lists.values()], limit).map(([, list]) => list);
}

function mostBalanced(lists: number[][], limit: number): [string, number[]][] {
  return lists
    .map((list): [string, number[]] => [list.join(), list])
    .sort(([ka, a], [kb, b]) => (a[0] ?? 0) - (b[0] ?? 0) || (ka < kb ? -1 : 1))
    .slice(0, limit);
}

/**
 * The largest prime that a size may hold before zero-padding pays: such a prime times 1 is still a
 * pair of about the typical product (IJ)^(1/n).
 */
function primeLimit(rows: number, cols: number, cores: number): number {
  return Math.max(7, 1.5 * (rows * cols) ** (1 / cores));
}

/** The smallest size from `size` up whose prime factors are at most 11. */
function nextSmooth(size: number): number {
  for (let s = size; ; s++) if ((primeFactors(s).at(-1) ?? 1) <= 11) return s;
}

export interface ChooseShapeOptions {
  /** Zero-pad sizes with large primes to the next size with small ones (default true). */
  padding?: boolean;
}

/**
 * Chooses row and column factors for `cores` cores: the largest pair product is as small as can be,
 * then the pair products are as equal as can be; row factors in descending order meet column
 * factors in ascending order; the two largest pairs stand at the ends, where a core costs P r
 * instead of P r^2 and the Gram matrix makes the bond exact.
 * @throws DotaError `adapter.shape` when the matrix is too small for so many cores
 */
export function chooseShape(
  rows: number,
  cols: number,
  cores: number,
  options: ChooseShapeOptions = {},
): MpoShape {
  if (!Number.isSafeInteger(cores) || cores < 2)
    throw new DotaError('adapter.shape', `${cores} is not a number of cores.`, {
      next: 'Choose 2 or more cores.',
    });
  const limit = primeLimit(rows, cols, cores);
  const pad = (size: number): number =>
    options.padding !== false && (primeFactors(size).at(-1) ?? 1) > limit ? nextSmooth(size) : size;
  // 300 x 300 candidates keep the search below a tenth of a second; the best lists come first.
  const rowLists = factorisations(pad(rows), cores, 300);
  const colLists = factorisations(pad(cols), cores, 300);
  let best: { rows: number[]; cols: number[]; score: [number, number, number] } | undefined;
  for (const i of rowLists) {
    for (const descending of colLists) {
      const j = [...descending].reverse();
      let max = 0;
      let min = Infinity;
      let skew = 0;
      for (let k = 0; k < cores; k++) {
        const ik = i[k] ?? 1;
        const jk = j[k] ?? 1;
        max = Math.max(max, ik * jk);
        min = Math.min(min, ik * jk);
        skew += Math.abs(Math.log(ik / jk));
      }
      if (min < 2) continue;
      const score: [number, number, number] = [max, max / min, skew];
      if (best === undefined || less(score, best.score)) best = { rows: i, cols: j, score };
    }
  }
  if (best === undefined)
    throw new DotaError(
      'adapter.shape',
      `A ${rows} x ${cols} matrix cannot be split into ${cores} cores.`,
      { next: 'Use fewer cores.' },
    );
  const order = endsFirst(best.rows.map((i, k) => i * (best.cols[k] ?? 1)));
  return {
    rows: order.map((k) => best.rows[k] ?? 1),
    cols: order.map((k) => best.cols[k] ?? 1),
  };
}

function less(a: readonly number[], b: readonly number[]): boolean {
  for (let k = 0; k < a.length; k++) {
    const d = (a[k] ?? 0) - (b[k] ?? 0);
    // Ratios and logarithms of equal shapes may differ in the last bits.
    if (Math.abs(d) > 1e-9) return d < 0;
  }
  return false;
}

/** Indices such that the largest value comes first, the second largest last, the rest between. */
function endsFirst(values: readonly number[]): number[] {
  const order = values
    .map((_, k) => k)
    .sort((a, b) => (values[b] ?? 0) - (values[a] ?? 0) || a - b);
  const [first = 0, last = 0, ...middle] = order;
  return [first, ...middle, last];
}
