/** Calls `action` at most once every `intervalMs`, the first time soon, never losing the last call. */
export interface Throttled {
  (): void;
  cancel(): void;
}

export function throttle(intervalMs: number, action: () => void): Throttled {
  let timer: NodeJS.Timeout | undefined;
  let last = Number.NEGATIVE_INFINITY;
  const call = (): void => {
    if (timer !== undefined) return;
    const wait = Math.max(0, last + intervalMs - Date.now());
    timer = setTimeout(() => {
      timer = undefined;
      last = Date.now();
      action();
    }, wait);
  };
  return Object.assign(call, {
    cancel(): void {
      clearTimeout(timer);
      timer = undefined;
    },
  });
}
