/** Tensors' values in the process's own memory. */

export type HostArray = Float32Array | Float64Array | Int32Array;
export type HostArrays = Readonly<Record<string, HostArray>>;
