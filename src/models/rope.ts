import type { DecoderConfig } from './modelConfig';

/**
 * Rotary frequencies theta^(-2i/headDim), `[headDim / 2]`, with the checkpoint's scaling.
 * `llama3` (Llama 3.1): long wavelengths are stretched by `factor`, short ones kept, and those
 * between are interpolated.
 */
export function inverseFrequencies(config: DecoderConfig): Float64Array {
  const { headDim, ropeTheta, ropeScaling } = config;
  const plain = Float64Array.from(
    { length: headDim / 2 },
    (_, i) => ropeTheta ** ((-2 * i) / headDim),
  );
  if (!ropeScaling) return plain;
  switch (ropeScaling.type) {
    case 'linear':
      return plain.map((frequency) => frequency / ropeScaling.factor);
    case 'llama3': {
      const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = ropeScaling;
      return plain.map((frequency) => {
        const turns = (originalMaxPositionEmbeddings * frequency) / (2 * Math.PI);
        if (turns < lowFreqFactor) return frequency / factor;
        if (turns > highFreqFactor) return frequency;
        const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
        return ((1 - smooth) * frequency) / factor + smooth * frequency;
      });
    }
  }
}
