/** Element types of graphs. */

export type FloatType = 'float32' | 'float64';
/**
 * int64 occurs only as constants that ONNX demands (shapes, axes, slice bounds); uint8 only as stored
 * weights, which are looked up in tables; float16 only inside of the probe of a device.
 */
export type DType = FloatType | 'float16' | 'int32' | 'int64' | 'uint8' | 'bool';
