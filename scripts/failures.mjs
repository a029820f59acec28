// What failed in a suite, and how `npm test` says it once more at its end.
import { stripVTControlCharacters } from 'node:util';

/** Lines of a message that are repeated; the whole of it stands where the test ran. */
const shownLines = 15;

/**
 * Everything that counts as failed: tests, what failed beside them (a module that does not load, a hook),
 * and a suite that ended with an error although nothing in its report failed.
 * @param {string} suite
 * @param {{ failures: { file: string, test: string, message: string }[] }} report the reporter's
 * @param {number | null} status exit status of vitest
 * @returns {{ suite: string, file: string, test: string, message: string }[]} one for each that is counted
 */
export function failuresOf(suite, report, status) {
  const failures = report.failures.map((failure) => ({ suite, ...failure }));
  if (failures.length === 0 && status !== 0)
    failures.push({
      suite,
      file: '',
      test: `exit status ${status}, although nothing failed`,
      message: 'The reason stands above, where the suite ran.',
    });
  return failures;
}

/**
 * The failures as text for the end of the output, where it survives being cut to its tail.
 * @param {ReturnType<typeof failuresOf>} failures
 * @returns {string} without control characters; empty when nothing failed
 */
export function failureSummary(failures) {
  return failures
    .map(({ suite, file, test, message }) => {
      const title = [suite, file, test].filter((part) => part !== '').join(' | ');
      const lines = stripVTControlCharacters(message)
        .split('\n')
        // Frames of the test runner and of Node say nothing about the test.
        .filter(
          (line) =>
            line.trim() !== '' && !/^\s+at .*(node_modules|node:)|^\s+at new Promise/.test(line),
        )
        .slice(0, shownLines);
      return [
        `FAILED ${stripVTControlCharacters(title)}`,
        ...lines.map((line) => `  ${line}`),
      ].join('\n');
    })
    .map((block) => `${block}\n`)
    .join('\n');
}
