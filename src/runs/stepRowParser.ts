/**
 * Reads `step` rows as the writer writes them straight from bytes: three times as fast as
 * JSON.parse, which decides how long a run of a million steps takes to open. A line in any other
 * form is left to JSON.parse.
 */
import { stepFields } from './journalColumns';

/** Stands at the end of a GPU's rows alone. */
const optional = 'deviceMb' satisfies (typeof stepFields)[number];

/** The keys in the writer's order, up to and including each colon. */
const keys = [
  '{"kind":"step","seq":',
  ...stepFields.filter((field) => field !== optional).map((field) => `,"${field}":`),
].map((key) => Buffer.from(key, 'latin1'));

/** Each key as words of four bytes, which compare four times as fast, and the bytes left over. */
const pattern = (key: Buffer) => {
  const words = Array.from({ length: key.length >> 2 }, (_, i) => key.readUInt32LE(4 * i));
  return { length: key.length, words, rest: key.subarray(4 * words.length) };
};
const patterns = keys.map(pattern);
const deviceMemory = pattern(Buffer.from(`,"${optional}":`, 'latin1'));

const newline = 0x0a;
const [minus, point, zero, nine, closing, exponent] = [0x2d, 0x2e, 0x30, 0x39, 0x7d, 0x65];
// Powers of ten up to 22 and integers of 15 digits are exact doubles, so one division rounds correctly.
const powers = Float64Array.from({ length: 23 }, (_, k) => Number(`1e${k}`));
const exactDigits = 15;
/** Most digits that the shortest text of a double has. */
const mostDigits = 17;

export class StepRowParser {
  /** `seq` and then the step fields, of the line parsed last; NaN for an optional one that is not there. */
  readonly values = new Float64Array(keys.length + 1);
  /** Where the line after it begins. */
  next = 0;
  #at = 0;
  #bytes: Buffer | undefined;
  #view: DataView = new DataView(new ArrayBuffer(0));

  /** True when the line at `start` was a step row; `values` and `next` are then set. */
  parse(bytes: Buffer, start: number): boolean {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    this.#at = start;
    for (let k = 0; k < patterns.length; k += 1) {
      if (!this.#skip(patterns[k] as (typeof patterns)[number], bytes)) return false;
      const value = this.#number(bytes);
      if (Number.isNaN(value)) return false;
      this.values[k] = value;
    }
    let onDevice = NaN;
    if (this.#skip(deviceMemory, bytes)) {
      onDevice = this.#number(bytes);
      if (Number.isNaN(onDevice)) return false;
    }
    this.values[keys.length] = onDevice;
    if (bytes[this.#at] !== closing || bytes[this.#at + 1] !== newline) return false;
    this.next = this.#at + 2;
    return true;
  }

  /** Moves the cursor behind a key; false when another text stands there. */
  #skip({ length, words, rest }: (typeof patterns)[number], bytes: Buffer): boolean {
    let at = this.#at;
    if (at + length > bytes.length) return false;
    for (let i = 0; i < words.length; i += 1, at += 4) {
      if (this.#view.getUint32(at, true) !== words[i]) return false;
    }
    for (let i = 0; i < rest.length; i += 1, at += 1) {
      if (bytes[at] !== rest[i]) return false;
    }
    this.#at = at;
    return true;
  }

  /** A JSON number at the cursor, NaN when there is none. */
  #number(bytes: Buffer): number {
    const start = this.#at;
    let at = start;
    const negative = bytes[at] === minus;
    if (negative) at += 1;
    // The first 15 digits that count, and those after them.
    let mantissa = 0;
    let rest = 0;
    let digits = 0;
    let seen = false;
    let decimals = -1;
    let byte = bytes[at] ?? newline;
    for (;;) {
      if (byte >= zero && byte <= nine) {
        seen = true;
        if (digits < exactDigits) mantissa = mantissa * 10 + (byte - zero);
        else rest = rest * 10 + (byte - zero);
        if (mantissa > 0) digits += 1;
        if (decimals >= 0) decimals += 1;
      } else if (byte === point && decimals < 0) {
        decimals = 0;
      } else {
        break;
      }
      at += 1;
      byte = bytes[at] ?? newline;
    }
    if (!seen) return NaN;
    decimals = Math.max(0, decimals);
    const value =
      byte === exponent || decimals > 22 || digits > mostDigits
        ? NaN
        : digits <= exactDigits
          ? mantissa / (powers[decimals] as number)
          : quotient(mantissa, rest, digits - exactDigits, decimals);
    if (Number.isNaN(value)) {
      while (byte !== 0x2c && byte !== closing && byte !== newline) {
        at += 1;
        byte = bytes[at] ?? newline;
      }
      this.#at = at;
      return Number(bytes.toString('latin1', start, at));
    }
    this.#at = at;
    return negative ? -value : value;
  }
}

/** Veltkamp's splitting: the upper half of a double's bits. */
function upper(value: number): number {
  const scaled = value * 134217729;
  return scaled - (scaled - value);
}
const powersUpper = powers.map(upper);

/**
 * (head * 10^more + rest) / 10^decimals, correctly rounded, in arithmetic of two doubles: a long loss
 * costs a tenth of what making a string of it does. `head` has 15 digits, `rest` at most two.
 * @returns NaN where the two doubles don't decide how to round
 */
function quotient(head: number, rest: number, more: number, decimals: number): number {
  const scale = powers[more] as number;
  // Both products are exact: `head` has 50 bits, of which the lower 26 and the upper 24 are taken apart.
  const low = head % 67108864;
  const big = (head - low) * scale;
  const small = low * scale + rest;
  const sum = big + small;
  const sumError = small - (sum - big);
  const divisor = powers[decimals] as number;
  const first = sum / divisor;
  // Dekker's product: what `first * divisor` lacks.
  const product = first * divisor;
  const a = upper(first);
  const b = first - a;
  const c = powersUpper[decimals] as number;
  const d = divisor - c;
  const productError = a * c - product + a * d + b * c + b * d;
  const second = (sum - product - productError + sumError) / divisor;
  // What is lost above is below 2^-100 of the value.
  const doubt = first * 2 ** -95;
  const value = first + (second - doubt);
  return value === first + (second + doubt) ? value : NaN;
}
