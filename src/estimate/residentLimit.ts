/**
 * Frozen weights that take fewer bytes than this as fp32 are widened once; the engine and the estimate
 * of its memory go by the same number. Below it the wider copy costs less than widening at every step.
 */
export const DEFAULT_RESIDENT_LIMIT = 2 ** 30;
