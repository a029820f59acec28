/** Plain text: paragraphs, separated by blank lines, become rows `{text}`. */
import { readLines } from './lines';
import type { ReadOptions, SourceRow } from './row';

/**
 * Characters after which a paragraph is cut at the next line end, so that a file without blank lines
 * takes no more memory than one with them.
 */
const longParagraph = 2 ** 18;

/** @throws DotaError `data.malformed` for a line over the limit or text that is not UTF-8 */
export async function* readText(
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<SourceRow> {
  let lines: string[] = [];
  let start = 1;
  let characters = 0;
  for await (const { text, line } of readLines(file, options)) {
    const blank = text.trim() === '';
    if (!blank) {
      if (lines.length === 0) start = line;
      lines.push(text);
      characters += text.length + 1;
    }
    if (lines.length > 0 && (blank || characters >= longParagraph)) {
      yield { row: { text: lines.join('\n') }, line: start };
      lines = [];
      characters = 0;
    }
  }
  if (lines.length > 0) yield { row: { text: lines.join('\n') }, line: start };
}
