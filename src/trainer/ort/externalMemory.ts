/**
 * Results of the runtime are external memory, whose weight the garbage collector doesn't feel: it
 * is called, where the process exposes it, after so many bytes have been made or let go.
 */
const COLLECT_AFTER = 2 ** 25;
let noted = 0;

/** Notes bytes of results that were just made, or whose last reference was just dropped. */
export function noteExternal(bytes: number): void {
  noted += bytes;
  if (noted < COLLECT_AFTER) return;
  globalThis.gc?.();
  noted = 0;
}
