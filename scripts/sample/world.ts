/** The small world that the sample's texts speak about, and the arithmetic that holds in it. */
import type { Random } from './random';

/** Operands of "plus", and what "minus" takes away, are at most this. */
export const largestOperand = 12;
/** No number in any text is larger: 12 plus 12. */
export const largestNumber = 2 * largestOperand;

export const people = [
  ...['Tom', 'Ann', 'Ben', 'Eva', 'Max', 'Lea', 'Sam', 'Ida', 'Leo', 'Mia'],
] as const;

/** Things that are counted, in the plural (one of them has no s). */
export const countables = [
  ...['apples', 'pears', 'plums', 'coins', 'books', 'pens', 'cups', 'hats', 'keys', 'balls'],
] as const;

/** `3 apples`, `1 apple`, `4 more apples`. */
export function amount(number: number, plural: string, more = ''): string {
  return `${number} ${more}${number === 1 ? plural.slice(0, -1) : plural}`;
}

export interface Thing {
  name: string;
  kind: string;
  colour: string;
  place: string;
}

const kinds: readonly (readonly [kind: string, names: readonly string[]])[] = [
  ['animal', ['dog', 'cat', 'horse', 'duck', 'frog']],
  ['fruit', ['apple', 'pear', 'plum', 'lemon', 'cherry']],
  ['tool', ['hammer', 'saw', 'rake', 'drill', 'brush']],
  ['toy', ['ball', 'kite', 'doll', 'drum', 'puzzle']],
];
const colours = ['red', 'green', 'blue', 'white', 'black', 'brown'];
const places = ['garden', 'kitchen', 'shed', 'room', 'street'];

/** Every thing with its fixed kind, colour and place (drawn once by a fixed rule, not at random). */
export const things: readonly Thing[] = kinds.flatMap(([kind, names], k) =>
  names.map((name, n) => ({
    name,
    kind,
    colour: colours[(k * 5 + n * 7) % colours.length]!,
    place: places[(k * 3 + n * 2) % places.length]!,
  })),
);

export type Operation = 'plus' | 'minus';

/** `left operation right = result`, all within the world's numbers. */
export interface Sum {
  left: number;
  operation: Operation;
  right: number;
  result: number;
}

export function compute(left: number, operation: Operation, right: number): number {
  return operation === 'plus' ? left + right : left - right;
}

/** True where the pretraining text states this sum. */
export function isStated(left: number, operation: Operation, right: number): boolean {
  const result = compute(left, operation, right);
  return (
    right >= 0 &&
    right <= largestOperand &&
    left >= 0 &&
    result >= 0 &&
    (operation === 'plus' ? left <= largestOperand : left <= largestNumber)
  );
}

/** A sum of the world; with `left` given, one that continues from it. */
export function drawSum(random: Random, left?: number): Sum {
  for (;;) {
    const operation = random.pick(['plus', 'minus'] as const);
    const first = left ?? random.integer(0, operation === 'plus' ? largestOperand : largestNumber);
    const right = random.integer(0, largestOperand);
    if (isStated(first, operation, right)) {
      return { left: first, operation, right, result: compute(first, operation, right) };
    }
  }
}

/** "7 plus 8 equals 15." */
export function sumSentence({ left, operation, right, result }: Sum): string {
  return `${left} ${operation} ${right} equals ${result}.`;
}
