/**
 * The dynamic 8-bit map (Dettmers, arXiv 1511.04561 and 2110.02861; bitsandbytes): 256 values in
 * [-1, 1] or [0, 1] over seven decades, more finely stepped towards 1, with 0 and 1 among them.
 */
export function dynamicMap(signed: boolean): Float32Array {
  const values = [0, 1];
  for (let decade = 0; decade < 7; decade++) {
    // The bit that is not spent on the sign doubles the steps.
    const steps = 2 ** (signed ? decade : decade + 1);
    for (let k = 0; k < steps; k++) {
      const middle = 0.1 + (0.9 * (k + 0.5)) / steps;
      const value = middle * 10 ** (decade - 6);
      values.push(value);
      if (signed) values.push(-value);
    }
  }
  return Float32Array.from(values.sort((a, b) => a - b));
}

/** Midpoints between neighbours: a value above the k-th belongs to code k + 1 or higher. */
export function midpoints(values: Float32Array): Float64Array {
  return Float64Array.from(
    { length: values.length - 1 },
    (_, k) => ((values[k] as number) + (values[k + 1] as number)) / 2,
  );
}

/** Number of thresholds below `x` (binary search); a value on a threshold takes the lower code. */
export function nearestCode(thresholds: Float64Array, x: number): number {
  let low = 0;
  let high = thresholds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x > (thresholds[middle] as number)) low = middle + 1;
    else high = middle;
  }
  return low;
}
