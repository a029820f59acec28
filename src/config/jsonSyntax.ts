/** Where the text of a configuration stops being JSON. */
import { type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser';

/**
 * The first offence with line and column, both from 1, or undefined when the text is JSON. For a
 * short text, `JSON.parse` names no place at all.
 */
export function describeJsonError(text: string): string | undefined {
  const errors: ParseError[] = [];
  parseTree(text, errors, { disallowComments: true, allowTrailingComma: false });
  const [first] = errors;
  if (first === undefined) return undefined;
  const before = text.slice(0, first.offset).split('\n');
  const column = (before.at(-1)?.length ?? 0) + 1;
  // "CommaExpected" as words.
  const problem = printParseErrorCode(first.error)
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase();
  return `Line ${before.length}, column ${column} is not valid JSON: ${problem}.`;
}
