/** What `dota doctor --json` says, as lines for the log. */
import { isObject, isString } from '../protocol/guards';

/** @returns one line a check, as the command line prints it; none where the answer has no checks */
export function doctorReport(answer: unknown): string[] {
  if (!isObject(answer) || !Array.isArray(answer.checks)) return [];
  return answer.checks.flatMap((check: unknown) =>
    isObject(check) && isString(check.name) && isString(check.text)
      ? [`${check.ok === true ? 'ok ' : 'no '} ${check.name}: ${check.text}`]
      : [],
  );
}
