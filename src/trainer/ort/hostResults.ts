/** Results of graphs in the host's memory: which of them may be given back, and when. */
import { putAside } from './asideArrays';
import { noteExternal } from './externalMemory';
import { releaseArray } from './releaseArray';
import type { HostArray, Values } from './values';

export class HostResults {
  /** Results of the scope at hand that were not freed yet. */
  #scope: Set<HostArray> | undefined;
  /** What the scope at hand has put aside and not taken back. */
  readonly #aside = new Set<() => HostArray[]>();

  /** Takes a result into its keeping; outside of a scope it is left to the collector. */
  adopt(result: HostArray): void {
    if (this.#scope) this.#scope.add(result);
    else noteExternal(result.byteLength);
  }

  /** Leaves a result of the scope at hand to the collector. */
  keep(array: HostArray): void {
    if (this.#scope?.delete(array)) noteExternal(array.byteLength);
  }

  /** Gives a result of the scope at hand back; arrays that came from elsewhere are left alone. */
  free(array: HostArray): void {
    if (this.#scope?.delete(array)) releaseArray(array);
  }

  /**
   * Puts results of the scope at hand aside: their arrays are empty from now on.
   * @returns what gives all the values back, once: results in new arrays, others as they are
   */
  setAside(values: Values): () => Values {
    const scope = this.#scope;
    const own = Object.entries(values).filter(([, value]) => scope?.has(value as HostArray));
    if (!scope || own.length === 0) return () => values;
    const arrays = own.map(([, value]) => value as HostArray);
    for (const array of arrays) scope.delete(array);
    const takeBack = putAside(arrays);
    this.#aside.add(takeBack);
    return () => {
      this.#aside.delete(takeBack);
      const restored = takeBack();
      for (const array of restored) scope.add(array);
      return {
        ...values,
        ...Object.fromEntries(own.map(([name], i) => [name, restored[i] as HostArray])),
      };
    };
  }

  /** Gives all results that `work` leaves behind back. */
  async scope<T>(work: () => Promise<T>): Promise<T> {
    if (this.#scope) throw new Error('scopes of results do not nest');
    const scope = new Set<HostArray>();
    this.#scope = scope;
    try {
      return await work();
    } finally {
      this.#scope = undefined;
      for (const result of scope) releaseArray(result);
      for (const takeBack of this.#aside) takeBack().forEach(releaseArray);
      this.#aside.clear();
    }
  }
}
