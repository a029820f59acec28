/**
 * Positional reads from one safetensors file: memory is one tensor at a time, in the file's type.
 * Assumes a little-endian machine, as every platform of Node's is.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { DotaError } from '../../protocol/errors';
import { elementBytes, viewAs } from '../dtype';
import { fileError } from '../files';
import type { RawTensor, WeightDtype, WeightSource } from '../modelConfig';
import { headerLimits, parseHeader, type SafetensorsHeader, type TensorEntry } from './header';

/** Bytes a read call: Node refuses more than 2^31 - 1, and smaller pieces let timers run. */
const readChunk = 16 * 1024 * 1024;
/** Reads at once: most of their time goes to the kernel's first touch of new memory, a thread each. */
const parallelReads = 2;

/** One open safetensors file. */
export class SafetensorsFile implements WeightSource {
  readonly names: readonly string[];
  readonly metadata: ReadonlyMap<string, string>;
  /** Bytes of all tensors together. */
  readonly dataBytes: number;

  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    private readonly header: SafetensorsHeader,
    private readonly dataStart: number,
  ) {
    this.names = [...header.tensors.keys()];
    this.metadata = header.metadata;
    // In file order, so the last tensor ends the data.
    this.dataBytes = [...header.tensors.values()].at(-1)?.end ?? 0;
  }

  /**
   * Opens a file and checks its whole header; no tensor is read yet.
   * @throws DotaError `file.missing`, `file.unreadable`, `file.malformed`, `model.unsupported`
   */
  static async open(path: string): Promise<SafetensorsFile> {
    let handle: FileHandle;
    try {
      handle = await open(path, 'r');
    } catch (cause) {
      throw fileError(cause, path);
    }
    try {
      const { size } = await handle.stat();
      if (size < 8) throw tooShort(path, size);
      const prefix = new Uint8Array(8);
      await readFully(handle, prefix, 0, path);
      const length = new DataView(prefix.buffer).getBigUint64(0, true);
      if (length > BigInt(headerLimits.bytes)) {
        throw new DotaError(
          'file.malformed',
          `Not a valid safetensors file: it claims a header of ${length} bytes.`,
          { where: path, next: 'Download the file again.' },
        );
      }
      const headerBytes = Number(length);
      if (8 + headerBytes > size) throw tooShort(path, size);
      const bytes = new Uint8Array(headerBytes);
      await readFully(handle, bytes, 8, path);
      const header = parseHeader(bytes, size - 8 - headerBytes, path);
      return new SafetensorsFile(path, handle, header, 8 + headerBytes);
    } catch (cause) {
      await handle.close();
      throw fileError(cause, path);
    }
  }

  info(name: string): { dtype: WeightDtype; shape: readonly number[] } | undefined {
    const entry = this.header.tensors.get(name);
    return entry === undefined
      ? undefined
      : { dtype: this.weightDtype(name, entry), shape: entry.shape };
  }

  async read(name: string): Promise<RawTensor> {
    const entry = this.header.tensors.get(name);
    if (entry === undefined) {
      throw new DotaError('file.malformed', `There is no tensor ${JSON.stringify(name)}.`, {
        where: this.path,
        next: 'Check that the checkpoint belongs to this configuration.',
      });
    }
    const dtype = this.weightDtype(name, entry);
    // Not zeroed first: every byte is read, or the read fails.
    const bytes = Buffer.allocUnsafeSlow(entry.end - entry.begin);
    await readFully(this.handle, bytes, this.dataStart + entry.begin, this.path);
    return { dtype, shape: entry.shape, data: viewAs(dtype, bytes.buffer as ArrayBuffer) };
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  private weightDtype(name: string, entry: TensorEntry): WeightDtype {
    if (Object.hasOwn(elementBytes, entry.dtype)) return entry.dtype as WeightDtype;
    throw new DotaError('model.unsupported', `Tensor ${name} has element type ${entry.dtype}.`, {
      where: this.path,
      next: 'Use a checkpoint whose weights are F32, F16 or BF16.',
    });
  }
}

function tooShort(path: string, size: number): DotaError {
  return new DotaError('file.malformed', `The file is truncated: it has only ${size} bytes.`, {
    where: path,
    next: 'Download the file again.',
  });
}

/** Fills `target` from `position`; a file that ends early is reported as truncated. */
async function readFully(
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  path: string,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < target.length) {
      const begin = next;
      const end = Math.min(target.length, begin + readChunk);
      next = end;
      await readPart(handle, target.subarray(begin, end), position + begin, path);
    }
  };
  const workers = Math.min(parallelReads, Math.ceil(target.length / readChunk));
  const results = await Promise.allSettled(Array.from({ length: workers }, worker));
  // Only when no read is under way any more: the caller may close the file.
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function readPart(
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  path: string,
): Promise<void> {
  let done = 0;
  while (done < target.length) {
    let bytesRead: number;
    try {
      ({ bytesRead } = await handle.read(target, done, target.length - done, position + done));
    } catch (cause) {
      throw fileError(cause, path);
    }
    if (bytesRead === 0) throw tooShort(path, position + done);
    done += bytesRead;
  }
}
