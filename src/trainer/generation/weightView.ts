/** Weights as generation reads them: the base model's, or with an adapter's change in place. */
import type { WeightChanges } from '../../export/weightChanges';
import type { FrozenWeights } from '../engine/frozenWeights';

/** `FrozenWeights` is one: what `read` returns is valid until the next call. */
export type WeightView = Pick<FrozenWeights, 'read' | 'gatherRows'>;

/**
 * The base weights with some of them replaced. Only the replaced ones take memory of their own, so
 * several adapters share one base. A tensor adapter is merged rather than applied to activations:
 * for one token its cores cost several times the dense product.
 */
export class AdaptedWeights implements WeightView {
  readonly #base: WeightView;
  readonly #changed: ReadonlyMap<string, Float32Array>;

  constructor(base: WeightView, changed: ReadonlyMap<string, Float32Array>) {
    this.#base = base;
    this.#changed = changed;
  }

  /** Bytes that this view holds beside the base. */
  get bytes(): number {
    return [...this.#changed.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  read(names: readonly string[]): Float32Array[] {
    const unchanged = this.#base.read(names.filter((name) => !this.#changed.has(name)));
    let next = 0;
    return names.map((name) => this.#changed.get(name) ?? (unchanged[next++] as Float32Array));
  }

  gatherRows(name: string, rows: Int32Array, width: number, into: Float32Array): void {
    const changed = this.#changed.get(name);
    if (!changed) {
      this.#base.gatherRows(name, rows, width, into);
      return;
    }
    rows.forEach((row, i) => {
      into.set(changed.subarray(row * width, (row + 1) * width), i * width);
    });
  }
}

/**
 * Merges what was trained into copies of the weights that it changes, in fp32.
 * @param names all weights of the model
 * @throws DotaError `adapter.shape`
 */
export async function applyChanges(
  base: WeightView,
  names: Iterable<string>,
  changes: WeightChanges,
): Promise<AdaptedWeights> {
  const changed = new Map<string, Float32Array>();
  for (const name of names) {
    const replacement = await changes.replacement?.(name);
    const delta = replacement ? undefined : await changes.delta?.(name);
    if (replacement) changed.set(name, replacement);
    if (!delta) continue;
    const [weight] = base.read([name]) as [Float32Array];
    for (let i = 0; i < delta.length; i++) {
      delta[i] = (delta[i] as number) + (weight[i] as number);
    }
    changed.set(name, delta);
  }
  return new AdaptedWeights(base, changed);
}
