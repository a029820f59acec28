/** Results of graphs in the host's memory: which of them may be given back, and when. */
import { noteExternal } from './externalMemory';
import { releaseArray } from './releaseArray';
import type { HostArray } from './values';

export class HostResults {
  /** Results of the scope at hand that were not freed yet. */
  #scope: Set<HostArray> | undefined;

  /** Takes a result into its keeping; outside of a scope it is left to the collector. */
  adopt(result: HostArray): void {
    if (this.#scope) this.#scope.add(result);
    else noteExternal(result.byteLength);
  }

  /** Gives a result of the scope at hand back; arrays that came from elsewhere are left alone. */
  free(array: HostArray): void {
    if (this.#scope?.delete(array)) releaseArray(array);
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
    }
  }
}
