/** Element types of graphs. */

export type FloatType = 'float32' | 'float64';
/** int64 occurs only as constants that ONNX demands (shapes, axes, slice bounds). */
export type DType = FloatType | 'int32' | 'int64' | 'bool';
