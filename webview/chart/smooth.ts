/**
 * Exponential moving average with the start's bias removed (as in Adam's moment estimates and in
 * TensorBoard): s_t = w s_{t-1} + (1 - w) v_t, shown is s_t / (1 - w^t). Values that are not finite
 * are passed through as NaN and do not enter the average.
 */
export class Smoother {
  private values = new Float64Array(0);
  private done = 0;
  private average = 0;
  private weightPower = 1;

  /** @param weight in [0, 1); 0 = no smoothing */
  constructor(readonly weight: number) {}

  /** Smooths `y[0, length)`; only what is new since the last call is computed. */
  update(y: Float64Array, length: number): Float64Array {
    if (length < this.done) this.reset();
    if (this.values.length < length) {
      const grown = new Float64Array(Math.max(1024, length * 2));
      grown.set(this.values.subarray(0, this.done));
      this.values = grown;
    }
    for (let i = this.done; i < length; i++) {
      const value = y[i] as number;
      if (!Number.isFinite(value)) {
        this.values[i] = NaN;
        continue;
      }
      this.average = this.weight * this.average + (1 - this.weight) * value;
      this.weightPower *= this.weight;
      this.values[i] = this.average / (1 - this.weightPower);
    }
    this.done = length;
    return this.values;
  }

  /** Forgets everything, for a series that was shortened. */
  reset(): void {
    this.done = 0;
    this.average = 0;
    this.weightPower = 1;
  }
}
