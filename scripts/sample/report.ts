/** The figures that are printed and kept with the sample, so that nobody fools themselves. */
import type { ModuleEnergy } from './energy';
import { meanEnergy } from './energy';

/** `media/sample/figures.json`. Losses in nats a token, accuracies and shares in [0, 1]. */
export interface SampleFigures {
  seed: number;
  pretraining: {
    parameters: number;
    steps: number;
    validationLoss: number;
    trigramValidationLoss: number;
  };
  arithmetic: {
    testItems: number;
    steps: number;
    trainableParameters: number;
    /** Exact match of the pretrained model, before fine-tuning. */
    accuracyBefore: number;
    accuracy: number;
    validationLoss: number;
    /** The same fine-tuning of a model with random weights. */
    accuracyFromRandomBase: number;
    accuracyOfBagOfWords: number;
    /** Always giving the answer that is most frequent in the training set. */
    accuracyOfMostFrequentAnswer: number;
  };
  mpo: { cores: number; r: number; modules: ModuleEnergy[] };
}

export function formatFigures({ pretraining, arithmetic, mpo }: SampleFigures): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const mean = meanEnergy(mpo.modules);
  const width = Math.max(...mpo.modules.map((m) => m.module.length));
  const energies = [
    ...mpo.modules.map((m) => [m.module, m.kept, m.keptGaussian, m.keptOwnSpectrum] as const),
    ['mean', mean.kept, mean.keptGaussian, mean.keptOwnSpectrum] as const,
  ].map(([name, ...shares]) =>
    [name.padEnd(width), ...shares.map((share) => percent(share).padStart(9))].join(' '),
  );
  return [
    '',
    `Pretraining: ${String(pretraining.parameters)} parameters, ${String(pretraining.steps)} steps`,
    `  validation loss   ${pretraining.validationLoss.toFixed(4)} nats a token`,
    `  trigram model     ${pretraining.trigramValidationLoss.toFixed(4)}`,
    '',
    `Arithmetic, exact match on ${String(arithmetic.testItems)} test items`,
    `  DoTA, ${String(arithmetic.trainableParameters)} parameters, ${String(arithmetic.steps)} steps   ${percent(arithmetic.accuracy)}`,
    `  before                      ${percent(arithmetic.accuracyBefore)}`,
    `  the same on a random base   ${percent(arithmetic.accuracyFromRandomBase)}`,
    `  bag-of-words classifier     ${percent(arithmetic.accuracyOfBagOfWords)}`,
    `  most frequent answer        ${percent(arithmetic.accuracyOfMostFrequentAnswer)}`,
    '',
    `Energy that ${String(mpo.cores)} cores of rank ${String(mpo.r)} keep`,
    `${''.padEnd(width)}    weight  Gaussian  own spectrum`,
    ...energies,
  ].join('\n');
}
