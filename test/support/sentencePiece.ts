/** Merges as transformers' converter derives them from a SentencePiece vocabulary: all, by score. */
export function allSplits(vocabulary: Readonly<Record<string, number>>): string[] {
  return Object.keys(vocabulary)
    .filter((token) => !/^<.*>$/.test(token))
    .sort((a, b) => vocabulary[a]! - vocabulary[b]!)
    .flatMap((token) => {
      const characters = [...token];
      return characters.slice(1).flatMap((_, i) => {
        const pair = [characters.slice(0, i + 1).join(''), characters.slice(i + 1).join('')];
        return pair.every((part) => part in vocabulary) ? [pair.join(' ')] : [];
      });
    });
}
