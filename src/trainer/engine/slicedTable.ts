/**
 * A table of the vocabulary, embedding or projection, that is larger than a device's largest buffer: it
 * lies there in parts.
 */
import { buildPartLookup } from '../../graph/decoder/streamedHeadGraph';
import { storageSignature } from '../../graph/layers/storedWeight';
import type { DecoderConfig, RawTensor } from '../../models/modelConfig';
import type { Device } from '../ort/device';
import type { Value, Values } from '../ort/values';
import { type DeviceWeight, uploadWeight } from './deviceWeights';
import type { SessionCache } from './sessionCache';

export interface TablePart {
  /** The first row's place in the table. */
  from: number;
  rows: number;
  weight: DeviceWeight;
}

/** @param table `[rows, width]`, fp32 values or a tensor in the file's type */
export async function uploadParts(
  device: Device,
  name: string,
  table: Float32Array | RawTensor,
  [rows, width]: readonly [number, number],
  rowsAtOnce: number,
): Promise<TablePart[]> {
  const parts: TablePart[] = [];
  for (let from = 0; from < rows; from += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - from);
    const range = [from * width, (from + count) * width] as const;
    const part =
      table instanceof Float32Array
        ? table.subarray(...range)
        : { ...table, shape: [count, width], data: table.data.subarray(...range) };
    const weight = await uploadWeight(device, name, part, [count, width]);
    parts.push({ from, rows: count, weight });
  }
  return parts;
}

/** What to feed for a part under the input name `part`. */
export function partFeeds({ weight }: TablePart): Values {
  return Object.fromEntries(weight.parts.map(({ suffix, value }) => [`part${suffix}`, value]));
}

/** Rows of the table, `[ids.length, width]`. */
export async function lookUpParts(
  parts: readonly TablePart[],
  ids: Int32Array,
  { config, sessions, device }: { config: DecoderConfig; sessions: SessionCache; device: Device },
): Promise<Value> {
  let sum: Value | undefined;
  for (const part of parts) {
    const places = new Int32Array(ids.length);
    const inside = new Float32Array(ids.length);
    ids.forEach((id, i) => {
      if (id < part.from || id >= part.from + part.rows) return;
      places[i] = id - part.from;
      inside[i] = 1;
    });
    const { storage } = part.weight;
    const shape = { count: ids.length, columns: part.rows };
    const first = sum === undefined;
    const session = await sessions.get(
      `embed part ${first} ${shape.count}x${shape.columns} ${storageSignature(storage)}`,
      () => buildPartLookup(config, shape, storage, first),
    );
    const feeds = { ids: places, inside, ...partFeeds(part), ...(sum && { sum }) };
    const { next_sum: next } = await session.run(feeds);
    if (sum) await device.free([sum]);
    sum = next;
  }
  return sum as Value;
}
