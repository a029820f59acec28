/** Colours of the editor's theme as values that a canvas understands. */

export interface Theme {
  highContrast: boolean;
  reduceMotion: boolean;
  background: string;
  foreground: string;
  muted: string;
  grid: string;
  border: string;
  focus: string;
  /** Colours that tell series apart, in order of use. */
  series: readonly string[];
  font: string;
}

const seriesVariables = ['blue', 'orange', 'green', 'purple', 'red', 'yellow'] as const;

/** Dash patterns that tell series apart without colour; used in high contrast. */
export const dashes: readonly (readonly number[])[] = [
  [],
  [8, 4],
  [2, 3],
  [10, 3, 2, 3],
  [5, 5],
  [14, 4],
];
export const markers = ['circle', 'square', 'triangle', 'diamond', 'cross', 'plus'] as const;
export type Marker = (typeof markers)[number];

/** The entry of a list of distinguishing marks for series `index`, repeating after the last. */
export function cycle<T>(list: readonly T[], index: number): T {
  return list[index % list.length] as T;
}

export function readTheme(): Theme {
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  // The computed colour resolves var() and color-mix() into a form that canvas accepts.
  const resolve = (value: string): string => {
    probe.style.color = '';
    probe.style.color = value;
    return getComputedStyle(probe).color;
  };
  const classes = document.body.classList;
  const theme: Theme = {
    highContrast:
      classes.contains('vscode-high-contrast') || classes.contains('vscode-high-contrast-light'),
    reduceMotion:
      classes.contains('vscode-reduce-motion') ||
      matchMedia('(prefers-reduced-motion: reduce)').matches,
    background: resolve('var(--vscode-editor-background)'),
    foreground: resolve('var(--vscode-foreground)'),
    muted: resolve('var(--dota-muted)'),
    grid: resolve('var(--dota-grid)'),
    border: resolve('var(--dota-border)'),
    focus: resolve('var(--vscode-focusBorder)'),
    // Some themes define them with transparency, which makes a thin line unreadable.
    series: seriesVariables.map((name) => opaque(resolve(`var(--vscode-charts-${name})`))),
    font: getComputedStyle(document.body).fontFamily,
  };
  probe.remove();
  return theme;
}

/** The same colour without transparency: `rgba(r, g, b, a)` -> `rgb(r, g, b)`. */
export function opaque(color: string): string {
  return color
    .replace(/^rgba\(([^,]+,[^,]+,[^,]+),[^)]+\)$/, 'rgb($1)')
    .replace(/^((?:rgba?|color)\([^/]+?)\s*\/[^)]+\)$/, '$1)');
}

/** Calls back with the new theme whenever the editor switches it. */
export function onThemeChange(listener: (theme: Theme) => void): void {
  let pending = false;
  const schedule = (): void => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      listener(readTheme());
    });
  };
  const observer = new MutationObserver(schedule);
  observer.observe(document.body, {
    attributes: true,
    attributeFilter: ['class', 'data-vscode-theme-id'],
  });
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ['style'] });
}

/** Black or white, whichever reads better on `color` (as computed by the browser). */
export function readableOn(color: string): string {
  const parts = color.match(/[\d.]+(e-?\d+)?/g)?.map(Number) ?? [];
  // `color(srgb r g b)` has components in [0, 1], `rgb(r, g, b)` in [0, 255].
  const scale = color.startsWith('color(') ? 1 : 255;
  const [r = 0, g = 0, b = 0] = parts.slice(0, 3).map((v) => {
    const c = v / scale;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  // Relative luminance (WCAG 2.2); 0.179 is where black and white contrast equally.
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000000' : '#ffffff';
}
