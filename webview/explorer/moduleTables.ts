/** The tables behind a module's drawings. */
import { h } from '../shared/dom';
import { formatInteger, formatNumber, formatPercent } from '../shared/format';
import { tail, type Prepared } from './cut';

/** Singular values listed at each bond; files exported by the command line have all. */
const SPECTRUM_ROWS = 256;

/** Bonds, cores and singular values of a module at the given ranks. */
export function moduleTables(prepared: Prepared, ranks: readonly number[]): HTMLElement[] {
  const { result } = prepared;
  const bonds = table(
    `Bonds of ${result.module}`,
    ['Bond', 'Dimension', 'Full dimension', 'Kept energy', 'Spectrum'],
    result.bonds.map((b, k) => [
      String(k + 1),
      formatInteger(ranks[k]),
      formatInteger(b.fullDimension),
      `${b.exactSpectrum ? '' : 'at least '}${formatPercent(result.energy > 0 ? 1 - tail(prepared, k, ranks[k] ?? 1) / result.energy : 1, 5)}`,
      b.exactSpectrum ? 'exact' : 'lower bounds',
    ]),
  );
  const cores = table(
    'Cores',
    ['Core', 'Left bond', 'Row leg i', 'Column leg j', 'Right bond', 'Parameters'],
    result.rowFactors.map((i, k) => {
      const shape = [ranks[k - 1] ?? 1, i, result.colFactors[k] ?? 1, ranks[k] ?? 1];
      return [
        String(k + 1),
        ...shape.map(formatInteger),
        formatInteger(shape.reduce((a, b) => a * b, 1)),
      ];
    }),
  );
  const spectra = result.bonds.map((b, k) => {
    const gaussian = result.references.find((r) => r.kind === 'gaussian')?.spectra[k];
    const own = result.references.find((r) => r.kind === 'own_spectrum')?.spectra[k];
    const shown = Math.min(SPECTRUM_ROWS, b.spectrum.length);
    return table(
      `Singular values at bond ${k + 1}${b.exactSpectrum ? '' : ' (lower bounds)'}: ${formatInteger(shown)} of ${formatInteger(b.fullDimension)}`,
      ['Index', 'Singular value', 'Cumulative energy', 'Gaussian', 'Same spectrum'],
      Array.from({ length: shown }, (_, i) => [
        String(i + 1),
        formatNumber(b.spectrum[i], 5),
        formatPercent(result.energy > 0 ? (prepared.kept[k]?.[i + 1] ?? 0) / result.energy : 0, 5),
        formatNumber(gaussian?.[i], 5),
        formatNumber(own?.[i], 5),
      ]),
    );
  });
  return [bonds, cores, ...spectra];
}

/** A data table with a caption, in a frame that scrolls. */
export function table(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): HTMLElement {
  return h(
    'div',
    { class: 'table-scroll', attrs: { tabindex: 0, role: 'region', 'aria-label': caption } },
    h(
      'table',
      { class: 'data' },
      h('caption', {}, h('span', { text: caption })),
      h(
        'thead',
        {},
        h('tr', {}, ...head.map((text) => h('th', { text, attrs: { scope: 'col' } }))),
      ),
      h(
        'tbody',
        {},
        ...rows.map((cells) =>
          h(
            'tr',
            {},
            ...cells.map((text, k) =>
              k === 0 ? h('th', { text, attrs: { scope: 'row' } }) : h('td', { text }),
            ),
          ),
        ),
      ),
    ),
  );
}
