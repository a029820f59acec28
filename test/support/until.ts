/** Waiting for a condition with a limit that holds whatever the condition's probe does. */

const tickMs = 250;

/**
 * Waits until a condition holds; says what did not. Time in which this process stood still, with all
 * others on the machine, is not counted.
 * @param probe one look; one that never answers, as a page that hangs does, ends with the limit as well
 * @param timeoutMs limit of all looks together
 * @param everyMs pause between two looks
 * @throws Error naming what did not come about, and whether the last look was still under way
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 300_000,
  everyMs = 200,
): Promise<T> {
  let waited = 0;
  let looking = false;
  let giveUp: (error: Error) => void;
  const limit = new Promise<never>((_, reject) => {
    giveUp = reject;
  });
  // A timer is late by as long as the process stands still, and then rings once.
  const clock = setInterval(() => {
    waited += tickMs;
    if (waited < timeoutMs) return;
    const why = looking ? ' (the last look at it has not answered)' : '';
    giveUp(new Error(`Not within ${timeoutMs} ms: ${what}${why}`));
  }, tickMs);
  try {
    for (;;) {
      looking = true;
      const value = await Promise.race([probe(), limit]);
      if (value !== undefined && value !== false) return value;
      looking = false;
      await Promise.race([new Promise((resolve) => setTimeout(resolve, everyMs)), limit]);
    }
  } finally {
    clearInterval(clock);
  }
}
