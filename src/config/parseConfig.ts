import type * as z from 'zod';
import { DotaError } from '../protocol/errors';
import { describeJsonError } from './jsonSyntax';

/**
 * Parses the text of a configuration file and validates it.
 * @param where file name for the message
 * @throws DotaError `config.invalid`, naming every offending key
 */
export function parseConfig<T>(schema: z.ZodType<T>, text: string, where: string): T {
  const json = text.replace(/^\uFEFF/, '');
  let raw: unknown;
  try {
    raw = JSON.parse(json);
  } catch (cause) {
    throw new DotaError('config.invalid', describeJsonError(json) ?? 'Not valid JSON.', {
      where,
      next: 'Fix the syntax at the place named.',
      cause,
    });
  }
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const key = issue.path.length === 0 ? '(top level)' : issue.path.join('.');
    return `${key}: ${issue.message}`;
  });
  throw new DotaError('config.invalid', problems.join('; '), {
    where,
    next: 'Correct these keys; the editor completes and explains them.',
  });
}
