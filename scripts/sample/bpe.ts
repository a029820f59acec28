/**
 * A trainer for byte-level byte-pair encoding, in the form that Llama 3 uses: text is split by
 * Llama 3's pattern, each piece becomes UTF-8 bytes written as printable characters (GPT-2's table),
 * and the most frequent neighbours are merged until the vocabulary is full. Numbers of up to three
 * digits are pieces of their own, without the space before them, so each number of the sample ends
 * up as one token wherever it stands.
 */

/** Llama 3's split pattern, as it stands in `tokenizer.json`. */
export const splitPattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** The same pattern for Node 20, whose engine has no inline flags. */
const splitExpression =
  /'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+/gu;

/** GPT-2's byte table: printable Latin-1 bytes stand for themselves, the others for U+0100 onwards. */
export function byteCharacters(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const code = printable(byte) ? byte : next++;
    return String.fromCharCode(code);
  });
}

export interface ByteLevelBpe {
  /** Token -> id: the 256 bytes first, then one token a merge. */
  vocabulary: Map<string, number>;
  /** In order of priority. */
  merges: (readonly [string, string])[];
}

/** A distinct piece of the corpus: its current symbols and how often it occurs. */
interface Piece {
  symbols: string[];
  count: number;
}

/**
 * @param texts the corpus
 * @param size tokens of the vocabulary, the 256 bytes included; fewer when nothing is left to merge
 */
export function trainBpe(texts: Iterable<string>, size: number): ByteLevelBpe {
  const table = byteCharacters();
  const encoder = new TextEncoder();
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const piece of text.match(splitExpression) ?? []) {
      counts.set(piece, (counts.get(piece) ?? 0) + 1);
    }
  }
  const pieces: Piece[] = [...counts].map(([piece, count]) => ({
    symbols: Array.from(encoder.encode(piece), (byte) => table[byte]!),
    count,
  }));
  const vocabulary = new Map(table.toSorted().map((token, id) => [token, id]));
  const merges: (readonly [string, string])[] = [];
  while (vocabulary.size < size) {
    const best = mostFrequentPair(pieces);
    if (best === undefined) break;
    const [left, right] = best;
    merges.push(best);
    // Two merges may spell the same token; it keeps its first id.
    if (!vocabulary.has(left + right)) vocabulary.set(left + right, vocabulary.size);
    for (const piece of pieces) mergeInPlace(piece.symbols, left, right);
  }
  return { vocabulary, merges };
}

/** Ties go to the pair that sorts first, so that the result does not depend on iteration order. */
function mostFrequentPair(pieces: readonly Piece[]): readonly [string, string] | undefined {
  const totals = new Map<string, number>();
  for (const { symbols, count } of pieces) {
    for (let i = 1; i < symbols.length; i += 1) {
      // A space never stands for a byte, so it separates the two symbols safely.
      const pair = `${symbols[i - 1]!} ${symbols[i]!}`;
      totals.set(pair, (totals.get(pair) ?? 0) + count);
    }
  }
  let best: string | undefined;
  let bestCount = 1;
  for (const [pair, count] of totals) {
    if (count > bestCount || (count === bestCount && best !== undefined && pair < best)) {
      best = pair;
      bestCount = count;
    }
  }
  if (best === undefined) return undefined;
  const [left, right] = best.split(' ');
  return [left!, right!];
}

function mergeInPlace(symbols: string[], left: string, right: string): void {
  let write = 0;
  for (let read = 0; read < symbols.length; read += 1) {
    const merges = symbols[read] === left && symbols[read + 1] === right;
    symbols[write] = merges ? left + right : symbols[read]!;
    if (merges) read += 1;
    write += 1;
  }
  symbols.length = write;
}
