import { describe, expect, it } from 'vitest';
import { styleOf } from '../../../webview/shared/legendMark';
import type { Theme } from '../../../webview/shared/theme';

const theme = (highContrast: boolean): Theme => ({
  highContrast,
  reduceMotion: false,
  background: '#000',
  foreground: '#fff',
  muted: '#888',
  grid: '#444',
  border: '#444',
  focus: '#00f',
  series: ['blue', 'orange', 'green', 'purple', 'red', 'yellow'],
  font: 'sans-serif',
});

describe.each([true, false])('the series of a chart, high contrast %s', (highContrast) => {
  it('differ all, beyond the number of colours', () => {
    const styles = Array.from({ length: 36 }, (_, slot) =>
      JSON.stringify(styleOf(theme(highContrast), slot)),
    );
    expect(new Set(styles).size).toBe(36);
  });
});

it('need no colour to be told apart in high contrast', () => {
  const forms = Array.from({ length: 6 }, (_, slot) => {
    const { dash, marker } = styleOf(theme(true), slot);
    return JSON.stringify([dash, marker]);
  });
  expect(new Set(forms).size).toBe(6);
});
