/** Seeded standard normal numbers for probe matrices: the same seed gives the same bits anywhere. */

/** mulberry32: 32-bit state, uniform in [0, 1); enough for probes, not for statistics. */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** `size` standard normal numbers by Marsaglia's polar method. */
export function gaussian(size: number, seed: number): Float32Array {
  const next = uniform(seed);
  const out = new Float32Array(size);
  for (let i = 0; i < size; i += 2) {
    let u: number;
    let v: number;
    let s: number;
    do {
      u = 2 * next() - 1;
      v = 2 * next() - 1;
      s = u * u + v * v;
    } while (s >= 1 || s === 0);
    const factor = Math.sqrt((-2 * Math.log(s)) / s);
    out[i] = u * factor;
    if (i + 1 < size) out[i + 1] = v * factor;
  }
  return out;
}
