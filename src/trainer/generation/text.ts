/** From the text of an answer to what is shown of it. */

/** The text before the first stop string. */
export function cutAtStop(
  text: string,
  stop: readonly string[],
): { text: string; stopped: boolean } {
  const starts = stop.filter((s) => s !== '').map((s) => text.indexOf(s));
  const found = starts.filter((at) => at !== -1);
  if (found.length === 0) return { text, stopped: false };
  return { text: text.slice(0, Math.min(...found)), stopped: true };
}

/**
 * What can be shown while an answer grows: without a character that is not complete (its bytes come
 * in several tokens) and without what may become a stop string.
 */
export function streamedText(text: string, stop: readonly string[]): string {
  const whole = text.replace(/\uFFFD+$/, '');
  const held = Math.max(0, ...stop.map((s) => overlap(whole, s)));
  return whole.slice(0, whole.length - held);
}

/** Length of the longest end of `text` that `stop` begins with. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
