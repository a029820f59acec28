/** What goes into a session and comes out: arrays of the host, or tensors in a GPU's memory. */
import { DeviceTensor } from './deviceTensors';

export type HostArray = Float32Array | Float64Array | Int32Array | Uint8Array;
export type HostArrays = Readonly<Record<string, HostArray>>;

/** Where a device is the CPU every value is a host array. */
export type Value = HostArray | DeviceTensor;
export type Values = Readonly<Record<string, Value>>;

/**
 * A place whose value a run replaces. On the CPU the run writes into the array that is there; on a
 * GPU it leaves a new tensor, and the old one is freed.
 */
export interface Slot<T extends Value = Value> {
  value: T;
}
export type Slots = Readonly<Record<string, Slot>>;

/** The value as an array: for outputs that were declared to come back to the host. */
export function hostArray(value: Value | undefined): HostArray {
  if (value === undefined || value instanceof DeviceTensor) {
    throw new Error('this value is not in the host’s memory');
  }
  return value;
}

/** The first number of an output on the host. */
export function hostNumber(value: Value | undefined): number {
  const [first] = hostArray(value);
  if (first === undefined) throw new Error('this value is empty');
  return first;
}
