// A reporter of vitest's, which loads it as a default export: writes what `npm test` says of a suite, to
// the file that DOTA_TEST_REPORT names. Vitest's own JSON report leaves out what a hook within a
// `describe` threw, and what was thrown outside of any test.
import { writeFileSync } from 'node:fs';
import path from 'node:path';

export default class FailureReporter {
  /**
   * @param {readonly import('vitest/node').TestModule[]} modules
   * @param {readonly import('vitest/node').SerializedError[]} unhandledErrors
   */
  onTestRunEnd(modules, unhandledErrors) {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state) => tests.filter((test) => test.result().state === state).length;
    const report = {
      passed: count('passed'),
      skipped: count('skipped'),
      failures: [
        ...modules.flatMap(failuresOfModule),
        ...unhandledErrors.map((error) => failure('', 'an error outside of any test', [error])),
      ],
    };
    writeFileSync(process.env.DOTA_TEST_REPORT, JSON.stringify(report));
  }
}

/** Failed tests, and what failed beside them: a module that does not load, a hook. */
function failuresOfModule(module) {
  const file = path.relative(process.cwd(), module.moduleId);
  const beside = [module, ...module.children.allSuites()].filter(
    (suite) => suite.errors().length > 0,
  );
  return [
    ...beside.map((suite) =>
      failure(file, suite.fullName ?? 'the file itself, or a hook in it', suite.errors()),
    ),
    ...[...module.children.allTests('failed')].map((test) =>
      failure(file, test.fullName, test.result().errors),
    ),
  ];
}

function failure(file, test, errors) {
  return { file, test, message: errors.map(({ stack, message }) => stack || message).join('\n') };
}
