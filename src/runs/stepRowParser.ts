/**
 * Reads `step` rows as the writer writes them straight from bytes: three times as fast as
 * JSON.parse, which decides how long a run of a million steps takes to open. A line in any other
 * form is left to JSON.parse.
 */
import { stepFields } from './journalColumns';

/** The keys in the writer's order, up to and including each colon. */
const keys = ['{"kind":"step","seq":', ...stepFields.map((field) => `,"${field}":`)].map((key) =>
  Buffer.from(key, 'latin1'),
);

/** Each key as words of four bytes, which compare four times as fast, and the bytes left over. */
const pattern = (key: Buffer) => {
  const words = Array.from({ length: key.length >> 2 }, (_, i) => key.readUInt32LE(4 * i));
  return { length: key.length, words, rest: key.subarray(4 * words.length) };
};
const patterns = keys.map(pattern);
/** Stands at the end of a GPU's rows; no column of the reader's holds it. */
const deviceMemory = pattern(Buffer.from(',"deviceMb":', 'latin1'));

const newline = 0x0a;
const [minus, point, zero, nine, closing, exponent] = [0x2d, 0x2e, 0x30, 0x39, 0x7d, 0x65];
// Powers of ten up to 22 and integers up to 2^53 are exact doubles, so one division rounds correctly.
const powers = Array.from({ length: 23 }, (_, k) => Number(`1e${k}`));
const largestExact = Number.MAX_SAFE_INTEGER;

export class StepRowParser {
  /** `seq` and then the step fields, of the line parsed last. */
  readonly values = new Float64Array(keys.length);
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
    if (this.#skip(deviceMemory, bytes) && Number.isNaN(this.#number(bytes))) return false;
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
    let mantissa = 0;
    let digits = 0;
    let decimals = -1;
    let byte = bytes[at] ?? newline;
    for (;;) {
      if (byte >= zero && byte <= nine) {
        mantissa = mantissa * 10 + (byte - zero);
        digits += 1;
        if (decimals >= 0) decimals += 1;
      } else if (byte === point && decimals < 0) {
        decimals = 0;
      } else {
        break;
      }
      at += 1;
      byte = bytes[at] ?? newline;
    }
    if (digits === 0) return NaN;
    decimals = Math.max(0, decimals);
    if (byte === exponent || mantissa > largestExact || decimals > 22) {
      while (byte !== 0x2c && byte !== closing && byte !== newline) {
        at += 1;
        byte = bytes[at] ?? newline;
      }
      this.#at = at;
      return Number(bytes.toString('latin1', start, at));
    }
    this.#at = at;
    const value = mantissa / (powers[decimals] as number);
    return negative ? -value : value;
  }
}
