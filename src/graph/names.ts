/**
 * Names of constants and intermediate values start with this, names of inputs must not: an
 * initializer that shares an input's name silently turns into that input's default value.
 */
export const RESERVED_PREFIX = '_';
