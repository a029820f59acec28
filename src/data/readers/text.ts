/** Plain text: paragraphs, separated by blank lines, become rows `{text}`. */
import { readLines } from './lines';
import { malformedRow, rowLimits, type ReadOptions, type SourceRow } from './row';

/**
 * @throws DotaError `data.malformed` for a paragraph over the limit or text that is not UTF-8
 */
export async function* readText(
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<SourceRow> {
  let lines: string[] = [];
  let start = 1;
  let characters = 0;
  for await (const { text, line } of readLines(file, options)) {
    if (text.trim() !== '') {
      if (lines.length === 0) start = line;
      lines.push(text);
      characters += text.length;
      if (characters > rowLimits.bytes)
        throw malformedRow(file, start, 'The paragraph is too long');
    } else if (lines.length > 0) {
      yield { row: { text: lines.join('\n') }, line: start };
      lines = [];
      characters = 0;
    }
  }
  if (lines.length > 0) yield { row: { text: lines.join('\n') }, line: start };
}
