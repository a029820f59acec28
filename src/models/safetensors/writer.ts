/** Writing safetensors files so that a crash never leaves half of one under its final name. */
import { randomBytes } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../../protocol/errors';
import { elementBytes } from '../dtype';
import { fileError } from '../files';
import type { RawTensor, WeightDtype } from '../modelConfig';

/** A tensor to write; a function is called when its turn comes, so that one is in memory at a time. */
export interface TensorToWrite {
  name: string;
  dtype: WeightDtype;
  shape: readonly number[];
  data: RawTensor['data'] | (() => Promise<RawTensor['data']>);
}

/**
 * Writes a file: temporary name, fsync, rename, fsync of the folder. Tensors are laid out by
 * element size, then by name, as the reference implementation does, so equal input gives equal
 * bytes.
 * @throws DotaError `file.diskFull`, `file.unreadable`; `internal` when data and shape disagree
 */
export async function writeSafetensors(
  file: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const ordered = [...tensors].sort(
    (a, b) => elementBytes[b.dtype] - elementBytes[a.dtype] || (a.name < b.name ? -1 : 1),
  );
  const header = encodeHeader(ordered, metadata);
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'wx');
    try {
      await writeFully(handle, header);
      for (const tensor of ordered) {
        const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
        if (data.byteLength !== byteLength(tensor)) {
          throw new DotaError('internal', `${tensor.name}: data and shape disagree.`);
        }
        await writeFully(handle, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    await syncFolder(path.dirname(file));
  } catch (cause) {
    await rm(temporary, { force: true });
    throw fileError(cause, file);
  }
}

function byteLength(tensor: TensorToWrite): number {
  return tensor.shape.reduce((product, n) => product * n, elementBytes[tensor.dtype]);
}

function encodeHeader(
  ordered: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) parts.push(`"__metadata__":${JSON.stringify(metadata)}`);
  const seen = new Set<string>(['__metadata__']);
  let position = 0;
  for (const tensor of ordered) {
    if (seen.has(tensor.name)) throw new DotaError('internal', `Two tensors named ${tensor.name}.`);
    seen.add(tensor.name);
    const end = position + byteLength(tensor);
    const entry = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [position, end] };
    parts.push(`${JSON.stringify(tensor.name)}:${JSON.stringify(entry)}`);
    position = end;
  }
  const json = Buffer.from(`{${parts.join(',')}}`, 'utf8');
  // Blanks up to a multiple of 8 keep the data aligned.
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = Buffer.alloc(8 + padded, 0x20);
  bytes.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(bytes, 8);
  return bytes;
}

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  const chunk = 64 * 1024 * 1024;
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(chunk, bytes.length - done));
    done += bytesWritten;
  }
}

/** Makes the rename durable; not possible (nor needed) on Windows. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
