/** Parquet through `hyparquet`, one row group after the other. */
import { open, type FileHandle } from 'node:fs/promises';
import {
  parquetMetadataAsync,
  parquetReadObjects,
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DotaError } from '../../protocol/errors';
import { fileError } from '../../models/files';
import { throwIfAborted } from './lines';
import type { ReadOptions, Row, SourceRow } from './row';

/** Caps against files that claim more than they hold. */
const limits = {
  footerBytes: 64 * 1024 * 1024,
  rowGroupBytes: 2 ** 31,
  pageBytes: 256 * 1024 * 1024,
  rows: 2 ** 31,
} as const;

/**
 * Rows decoded at a time: about 64 MB of text. A row group is often a million rows, and each batch
 * decodes the group's pages before it again, so the batches must not be small either.
 */
const batch = { bytes: 64 * 1024 * 1024, minRows: 256, maxRows: 65_536 } as const;

/**
 * @throws DotaError `data.malformed` naming the row, `file.missing`, `file.unreadable`
 */
export async function* readParquet(
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<SourceRow> {
  let handle: FileHandle;
  try {
    handle = await open(file, 'r');
  } catch (cause) {
    throw fileError(cause, file);
  }
  let done = 0;
  try {
    const { size } = await handle.stat();
    const buffer = fileBuffer(handle, size);
    await checkFooter(buffer);
    const metadata = await parquetMetadataAsync(buffer);
    const total = checkMetadata(metadata, size);
    for (const group of metadata.row_groups) {
      const end = done + Number(group.num_rows);
      const step = batchSize(group);
      while (done < end) {
        throwIfAborted(options.signal);
        const rows: Row[] = await parquetReadObjects({
          file: buffer,
          metadata,
          rowStart: done,
          rowEnd: Math.min(done + step, end),
          compressors: cappedCompressors,
          useOffsetIndex: false,
        });
        if (rows.length === 0) throw new Error('it holds fewer rows than it says');
        for (const row of rows) yield { row: plainRow(row), line: ++done };
        options.onProgress?.(done / total);
      }
    }
  } catch (cause) {
    if (cause instanceof DotaError) throw cause;
    throw new DotaError('data.malformed', `The Parquet file cannot be read: ${reason(cause)}.`, {
      where: `${file}:${done + 1}`,
      next: 'Write the file again, or convert it to JSONL.',
      cause,
    });
  } finally {
    await handle.close();
  }
}

function reason(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).slice(0, 300).replace(/\.$/, '');
}

function fileBuffer(handle: FileHandle, size: number): AsyncBuffer {
  return {
    byteLength: size,
    async slice(start, end = size) {
      const from = start < 0 ? size + start : start;
      const length = end - from;
      if (!(from >= 0 && length >= 0 && end <= size)) throw new Error('an offset is out of range');
      const bytes = new Uint8Array(length);
      const { bytesRead } = await handle.read(bytes, 0, length, from);
      if (bytesRead !== length) throw new Error('the file is truncated');
      return bytes.buffer;
    },
  };
}

async function checkFooter(buffer: AsyncBuffer): Promise<void> {
  if (buffer.byteLength < 12) throw new Error('the file is truncated');
  const tail = new DataView(await buffer.slice(buffer.byteLength - 8));
  if (tail.getUint32(4, true) !== 0x31524150) throw new Error('the file is truncated');
  const footer = tail.getUint32(0, true);
  if (footer > limits.footerBytes || footer > buffer.byteLength - 12) {
    throw new Error('its footer has an impossible length');
  }
}

function batchSize(group: FileMetaData['row_groups'][number]): number {
  const bytes = group.columns.reduce(
    (sum, column) => sum + Number(column.meta_data?.total_uncompressed_size ?? 0),
    0,
  );
  const fitting = Math.floor((batch.bytes * Number(group.num_rows)) / Math.max(1, bytes));
  return Math.min(batch.maxRows, Math.max(batch.minRows, fitting));
}

/** Row groups agree with the file, so that no size from it is believed unchecked. */
function checkMetadata(metadata: FileMetaData, size: number): number {
  const total = Number(metadata.num_rows);
  if (!Number.isSafeInteger(total) || total < 0 || total > limits.rows) {
    throw new Error('its row count is impossible');
  }
  let sum = 0;
  for (const group of metadata.row_groups) {
    if (group.num_rows < 0n) throw new Error('a row group has an impossible length');
    sum += Number(group.num_rows);
    let bytes = 0;
    for (const { meta_data: column } of group.columns) {
      if (column === undefined) throw new Error('a column has no metadata');
      const { total_compressed_size: stored, num_values: values } = column;
      const start = Number(column.dictionary_page_offset ?? column.data_page_offset);
      if (!(start >= 0 && stored >= 0n && start + Number(stored) <= size)) {
        throw new Error('a column lies outside the file');
      }
      if (values < 0n || Number(values) > limits.rows) throw new Error('a column is too long');
      bytes += Number(stored);
    }
    if (bytes > limits.rowGroupBytes) throw new Error('a row group is larger than 2 GB');
  }
  if (sum !== total) throw new Error('its row groups and its row count disagree');
  return total;
}

const cappedCompressors: Compressors = Object.fromEntries(
  Object.entries(compressors).map(([codec, decompress]) => [
    codec,
    (input: Uint8Array, outputLength: number): Uint8Array => {
      if (outputLength < 0 || outputLength > limits.pageBytes) {
        throw new Error('a page claims an impossible size');
      }
      return decompress(input, outputLength);
    },
  ]),
);

/** Big integers become numbers and times become ISO strings, so that a row is as from JSON. */
function plainRow(row: Row): Row {
  return Object.fromEntries(Object.entries(row).map(([key, value]) => [key, plain(value, 0)]));
}

function plain(value: unknown, depth: number): unknown {
  if (depth > 64) throw new Error('a row is nested too deeply');
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return undefined;
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, plain(item, depth + 1)]),
    );
  }
  return value;
}
