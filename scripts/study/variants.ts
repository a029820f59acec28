/** The base models of the ablations over pretraining length and width. */
import { pretraining } from '../sample/recipe';

export interface ModelVariant {
  /** Its folder under `.cache/study/models`. */
  name: string;
  width: number;
  /** Of pretraining. */
  steps: number;
}

const steps = pretraining.training?.max_steps ?? 0;

/** One thing differs from the sample in each. A width of 192 would make a run longer than a minute on two cores. */
export const variants: readonly ModelVariant[] = [
  { name: 'quarter', width: 128, steps: Math.round(steps / 4) },
  { name: 'width64', width: 64, steps },
  { name: 'width160', width: 160, steps },
];

/** Configuration of the sample at another width; heads keep their size. */
export function variantConfig(
  sample: Readonly<Record<string, unknown>>,
  width: number,
): Record<string, unknown> {
  const heads = width / 32;
  return {
    ...sample,
    hidden_size: width,
    intermediate_size: 4 * width,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    // About 1 / sqrt(fan_in), as at width 128.
    initializer_range: Number((0.68 / Math.sqrt(width)).toFixed(3)),
  };
}
