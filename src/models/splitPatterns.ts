/**
 * The regular expressions by which published tokenizers split a text into words. None nests
 * quantifiers, so matching takes linear time; no other pattern is ever run.
 */

const llama3Tail = String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const letterRun = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+`;
const upper = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const casedTail = String.raw`| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const contraction = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)?`;

/** Patterns that make up a family's whole pre-tokenizer. */
export const familyPatterns = {
  gpt2: String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  /** cl100k */
  llama3: String.raw`${letterRun}|\p{N}{1,3}${llama3Tail}`,
  /** Qwen 2, 2.5 and 3 */
  qwen2: String.raw`${letterRun}|\p{N}${llama3Tail}`,
  qwen35: String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  /** Mistral's */
  tekken: String.raw`[^\r\n\p{L}\p{N}]?${upper}*${lower}+|[^\r\n\p{L}\p{N}]?${upper}+${lower}*|\p{N}${casedTail}`,
  gpt4o: String.raw`[^\r\n\p{L}\p{N}]?${upper}*${lower}+${contraction}|[^\r\n\p{L}\p{N}]?${upper}+${lower}*${contraction}|\p{N}{1,3}${casedTail}`,
} as const;
export type PatternFamily = keyof typeof familyPatterns;

export const knownPatterns: ReadonlySet<string> = new Set([
  ...Object.values(familyPatterns),
  // Digits in threes from the right, single digits, blanks: parts of DeepSeek's and others' chains
  String.raw`\p{N}{1,3}`,
  String.raw`\p{N}`,
  String.raw`[0-9]`,
  String.raw`[0-9][0-9][0-9]`,
  String.raw`\d`,
  String.raw`\s+`,
  String.raw`[\r\n]`,
  ' ',
  ' {2,}',
]);
