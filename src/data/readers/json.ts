/** JSON rows: one object a line (JSONL), or an array of objects read element by element. */
import { decodeLine, readChunks, readLines } from './lines';
import { malformedRow, parseRow, rowLimits, type ReadOptions, type SourceRow } from './row';

/**
 * Rows of a JSONL file; blank lines are skipped.
 * @throws DotaError `data.malformed` naming the line
 */
export async function* readJsonLines(
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<SourceRow> {
  for await (const { text, line } of readLines(file, options)) {
    if (text.trim() !== '') yield { row: parseRow(text, file, line), line };
  }
}

/**
 * Rows of a file that holds one JSON array of objects, in bounded memory: the bytes are split at
 * the array's own commas, then each element is parsed alone. (In UTF-8 no byte of a longer
 * character looks like a bracket, comma or quote.)
 * @throws DotaError `data.malformed` naming the line where the element starts
 */
export async function* readJsonArray(
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<SourceRow> {
  const splitter = new ArraySplitter(file);
  for await (const chunk of readChunks(file, options)) yield* splitter.push(chunk);
  splitter.end();
}

class ArraySplitter {
  private state: 'before' | 'element' | 'after' = 'before';
  private depth = 0;
  private quoted = false;
  private escaped = false;
  private line = 1;
  private firstBytes = true;
  private parts: Buffer[] = [];
  private bytes = 0;
  private elementLine = 0;
  private elements = 0;

  constructor(private readonly file: string) {}

  *push(given: Buffer): Generator<SourceRow> {
    let chunk = given;
    if (this.firstBytes) {
      this.firstBytes = false;
      if (chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf) chunk = chunk.subarray(3);
    }
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] as number;
      if (byte === 0x0a) this.line++;
      if (this.state !== 'element') {
        if (isBlank(byte)) continue;
        if (this.state === 'after') throw this.malformed('Text follows the end of the array');
        if (byte !== 0x5b) throw this.malformed('The file is not a JSON array');
        this.state = 'element';
        start = i + 1;
        continue;
      }
      if (this.quoted) {
        if (this.escaped) this.escaped = false;
        else if (byte === 0x5c) this.escaped = true;
        else if (byte === 0x22) this.quoted = false;
        continue;
      }
      if (this.elementLine === 0 && !isBlank(byte)) this.elementLine = this.line;
      switch (byte) {
        case 0x22: // "
          this.quoted = true;
          break;
        case 0x7b: // {
        case 0x5b: // [
          if (++this.depth > rowLimits.depth) {
            throw this.malformed(`The row is nested deeper than ${rowLimits.depth} levels`);
          }
          break;
        case 0x7d: // }
          this.depth--;
          break;
        case 0x2c: // ,
          if (this.depth === 0) {
            yield this.take(chunk.subarray(start, i));
            start = i + 1;
          }
          break;
        case 0x5d: // ]
          if (--this.depth < 0) {
            const rest = chunk.subarray(start, i);
            // An empty array has no element; after a comma there must be one.
            if (this.elements > 0 || this.hasText(rest)) yield this.take(rest);
            this.state = 'after';
            this.depth = 0;
          }
          break;
      }
    }
    if (this.state === 'element') this.keep(chunk.subarray(start));
  }

  end(): void {
    if (this.state === 'before') throw this.malformed('The file is empty');
    if (this.state === 'element') throw this.malformed('The array is not closed');
  }

  private hasText(last: Buffer): boolean {
    return [...this.parts, last].some((part) => part.some((byte) => !isBlank(byte)));
  }

  private keep(part: Buffer): void {
    this.parts.push(part);
    this.bytes += part.length;
    if (this.bytes > rowLimits.bytes) {
      throw this.malformed(`The row is longer than ${rowLimits.bytes} bytes`);
    }
  }

  private take(last: Buffer): SourceRow {
    this.keep(last);
    const line = this.elementLine === 0 ? this.line : this.elementLine;
    const text = decodeLine(Buffer.concat(this.parts), this.file, line);
    this.parts = [];
    this.bytes = 0;
    this.elementLine = 0;
    this.elements++;
    return { row: parseRow(text, this.file, line), line };
  }

  private malformed(problem: string): Error {
    const line = this.elementLine === 0 ? this.line : this.elementLine;
    return malformedRow(this.file, line, problem);
  }
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
