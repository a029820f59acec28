/** Arithmetic of static shapes. */

export type Shape = readonly number[];

export function sizeOf(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/** Size along an axis; negative axes count from the end. */
export function dimension(shape: Shape, axis: number): number {
  const size = shape[axis < 0 ? shape.length + axis : axis];
  if (size === undefined) throw new Error(`axis ${axis} is outside of ${formatShape(shape)}`);
  return size;
}

/** NumPy's broadcasting rule. */
export function broadcastShapes(a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const sizeA = a[a.length - rank + i] ?? 1;
    const sizeB = b[b.length - rank + i] ?? 1;
    if (sizeA !== sizeB && sizeA !== 1 && sizeB !== 1) {
      throw new Error(`cannot broadcast ${formatShape(a)} with ${formatShape(b)}`);
    }
    return sizeA === 1 ? sizeB : sizeA;
  });
}

/** Asserts that shapes share their first size. */
export function expectSameRows(a: Shape, b: Shape, rows: number): void {
  if (a[0] !== rows || b[0] !== rows) {
    throw new Error(`${formatShape(a)} and ${formatShape(b)} should have ${rows} rows`);
  }
}
