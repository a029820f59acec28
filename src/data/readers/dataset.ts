/** Opens a dataset of any supported format, told apart by its contents. */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../../protocol/errors';
import { fileError } from '../../models/files';
import { readCsv } from './csv';
import { readJsonArray, readJsonLines } from './json';
import { readParquet } from './parquet';
import type { ReadOptions, SourceRow } from './row';
import { readText } from './text';

export type DatasetFormat = 'parquet' | 'json' | 'jsonl' | 'csv' | 'tsv' | 'text';

/**
 * Tells the format: Parquet by its magic, JSON array and JSONL by the first character, CSV and TSV
 * by the file's extension, anything else is text.
 * @throws DotaError `file.missing`, `file.unreadable`, `data.malformed`, `data.empty`
 */
export async function sniffFormat(file: string): Promise<DatasetFormat> {
  const head = await readHead(file);
  if (head.length === 0) {
    throw new DotaError('data.empty', 'The file is empty.', {
      where: file,
      next: 'Choose a file with at least one row.',
    });
  }
  const starts = (...bytes: number[]): boolean => bytes.every((byte, i) => head[i] === byte);
  if (starts(0x50, 0x41, 0x52, 0x31)) return 'parquet';
  const refuse = (problem: string, next: string): DotaError =>
    new DotaError('data.malformed', problem, { where: file, next });
  if (starts(0x1f, 0x8b) || starts(0x28, 0xb5, 0x2f, 0xfd) || starts(0x50, 0x4b, 0x03, 0x04)) {
    throw refuse('The file is compressed.', 'Unpack it first.');
  }
  if (starts(0xff, 0xfe) || starts(0xfe, 0xff)) {
    throw refuse('The file is UTF-16.', 'Save it as UTF-8.');
  }
  const extension = path.extname(file).toLowerCase();
  if (extension === '.csv') return 'csv';
  if (extension === '.tsv') return 'tsv';
  const first = head
    .toString('latin1')
    .replace(/^\u00ef\u00bb\u00bf/, '')
    .trimStart()[0];
  const isText = extension === '.txt' || extension === '.md';
  if (first === '[' && !isText) return 'json';
  if (first === '{' && !isText) return 'jsonl';
  if (extension === '.json' || extension === '.jsonl' || extension === '.parquet') {
    throw refuse(
      `The contents are not what the name ${extension} says.`,
      'JSON files start with [ (an array of rows) or { (one row a line).',
    );
  }
  return 'text';
}

async function readHead(file: string): Promise<Buffer> {
  try {
    const handle = await open(file, 'r');
    try {
      const bytes = Buffer.alloc(4096);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
      return bytes.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw fileError(cause, file);
  }
}

/**
 * Rows of a dataset, as a stream.
 * @throws DotaError as `sniffFormat`, and `data.malformed` naming file and line
 */
export async function* readRows(
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<SourceRow> {
  const format = await sniffFormat(file);
  switch (format) {
    case 'parquet':
      return yield* readParquet(file, options);
    case 'json':
      return yield* readJsonArray(file, options);
    case 'jsonl':
      return yield* readJsonLines(file, options);
    case 'csv':
      return yield* readCsv(file, ',', options);
    case 'tsv':
      return yield* readCsv(file, '\t', options);
    case 'text':
      return yield* readText(file, options);
  }
}
