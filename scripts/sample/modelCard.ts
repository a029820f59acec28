/** The README of `media/sample/model`. */
import type { SampleFigures } from './report';

export function modelCard({ pretraining, arithmetic }: SampleFigures): string {
  return `---
license: mit
language: en
library_name: transformers
tags: [llama, arithmetic, toy]
---

# Sample model

A Llama-architecture model of ${String(pretraining.parameters)} parameters (bf16), made by this repository's own
trainer from text that \`scripts/sample\` generates: sums up to 24, short stories with sums, plain facts
about twenty things. It exists so that fine-tuning can be tried offline in a minute. It knows nothing
else and is of no use beyond that.

- Architecture: 4 layers, width 128, 4 heads, feed-forward width 512, tied embeddings, RoPE, RMSNorm.
- Tokenizer: byte-level BPE with Llama 3's split pattern, trained on the pretraining text; numbers are
  single tokens. Begin token in front, end token after each document.
- Pretraining: ${String(pretraining.steps)} steps of 16 x 128 tokens, validation loss
  ${pretraining.validationLoss.toFixed(3)} nats a token (a trigram model of the same text: ${pretraining.trigramValidationLoss.toFixed(3)}).
- After fine-tuning on \`../data\` with DoTA (${String(arithmetic.trainableParameters)} parameters, ${String(arithmetic.steps)} steps): ${(100 * arithmetic.accuracy).toFixed(1)} %
  exact match on ${String(arithmetic.testItems)} test items; a bag-of-words classifier reaches ${(100 * arithmetic.accuracyOfBagOfWords).toFixed(1)} %, the same
  fine-tuning of random weights ${(100 * arithmetic.accuracyFromRandomBase).toFixed(1)} %.
- Reproduce: \`npm run sample\` (seed 0).
- Licence: MIT, as the repository. No third-party text, weights or vocabulary are contained.

It loads in transformers: \`AutoModelForCausalLM.from_pretrained(folder)\`.
`;
}
