/** Ctrl+C in a terminal, and the signal by which the editor cancels. */

/**
 * The first signal asks to stop; a second one ends the process.
 * @returns whether it was asked
 */
export function stopOnSignal(): () => boolean {
  let stopped = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopped = true;
    });
  }
  return () => stopped;
}
