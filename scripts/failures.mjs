// What failed in a suite, from vitest's JSON report, and how `npm test` says it once more at its end.
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';

/** Lines of a message that are repeated; the whole of it stands where the test ran. */
const shownLines = 15;
const above = 'The reason stands above, where the suite ran.';

/**
 * Everything that counts as failed: tests, files that failed beside their tests (a module that does not
 * load, a hook), and a suite that ended with an error although nothing in its report failed.
 * @param {string} suite
 * @param {{ testResults: object[] }} report vitest's
 * @param {number | null} status exit status of vitest
 * @returns {{ suite: string, file: string, test: string, message: string }[]} one for each that is counted
 */
export function failuresOf(suite, report, status) {
  const failures = report.testResults.flatMap((result) => {
    const file = path.relative(process.cwd(), result.name);
    const failed = result.assertionResults
      .filter((test) => test.status === 'failed')
      .map((test) => ({
        suite,
        file,
        test: [...test.ancestorTitles, test.title].join(' > '),
        message: test.failureMessages.join('\n'),
      }));
    if (failed.length > 0 || result.status !== 'failed') return failed;
    const message = result.message || above;
    return [{ suite, file, test: 'the file itself, or a hook in it', message }];
  });
  if (failures.length === 0 && status !== 0)
    failures.push({ suite, file: '', test: 'an error outside of any test', message: above });
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
