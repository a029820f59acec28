/** CSV and TSV with a header line, over `csv-parse`. */
import { CsvError, parse } from 'csv-parse';
import { DotaError } from '../../protocol/errors';
import { readChunks } from './lines';
import { malformedRow, rowLimits, type ReadOptions, type Row, type SourceRow } from './row';

interface CsvRecord {
  info: { lines: number };
  record: string[];
}

/**
 * Rows with the header's names as keys and strings as values.
 * @throws DotaError `data.malformed` naming the line
 */
export async function* readCsv(
  file: string,
  delimiter: ',' | '\t',
  options: ReadOptions = {},
): AsyncGenerator<SourceRow> {
  const parser = parse({
    bom: true,
    delimiter,
    info: true,
    max_record_size: rowLimits.bytes,
    skip_empty_lines: true,
    relax_column_count: false,
    record_delimiter: ['\r\n', '\n', '\r'],
  });
  // The parser is a stream of its own; a failure to read must end it, not hang it.
  const feed = (async () => {
    try {
      for await (const chunk of readChunks(file, options)) {
        if (!parser.write(chunk)) {
          await new Promise<void>((resolve) => {
            const done = (): void => {
              parser.off('drain', done).off('close', done).off('error', done);
              resolve();
            };
            parser.on('drain', done).on('close', done).on('error', done);
          });
        }
        if (parser.destroyed) return;
      }
      parser.end();
    } catch (error) {
      parser.destroy(error as Error);
    }
  })();
  let header: string[] | undefined;
  try {
    for await (const item of parser) {
      const { info, record } = item as CsvRecord;
      if (header === undefined) {
        header = checkHeader(record, file);
        continue;
      }
      const names = header;
      // fromEntries defines own properties, so a column named __proto__ is only a column.
      const row: Row = Object.fromEntries(record.map((value, i) => [names[i] ?? '', value]));
      yield { row, line: info.lines };
    }
  } catch (error) {
    if (error instanceof DotaError) throw error;
    if (error instanceof CsvError) {
      const line = (error as { lines?: unknown }).lines;
      throw malformedRow(file, typeof line === 'number' ? line : 1, trimStop(error.message));
    }
    throw malformedRow(file, 1, trimStop((error as Error).message));
  } finally {
    parser.destroy();
    await feed;
  }
}

function trimStop(message: string): string {
  return message.replace(/\.$/, '');
}

function checkHeader(names: string[], file: string): string[] {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) {
      throw malformedRow(file, 1, `The header has the column ${JSON.stringify(name)} twice`);
    }
    seen.add(name);
  }
  return names;
}
