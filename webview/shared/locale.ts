/**
 * uPlot formats with `navigator.language` while it loads. Under a POSIX locale Chromium reports
 * `en-US@posix`, which Intl refuses, and the panel would stay blank. Import before uPlot.
 */
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-US', configurable: true });
}
export {};
