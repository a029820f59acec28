import type { RunFingerprint } from '../../src/protocol/runFiles';
import type { RunSummary } from '../../src/protocol/metricsPanel';

const facts: readonly (readonly [keyof RunFingerprint, string])[] = [
  ['trainData', 'training data'],
  ['validationData', 'validation data'],
  ['dataPolicy', 'loss mask, template or length'],
  ['tokenizer', 'tokenizer'],
  ['baseWeights', 'base model'],
];

/** Which facts make `other`'s losses not comparable with `lead`'s; empty when they are. */
export function differences(lead: RunSummary, other: RunSummary): string[] {
  const a = lead.fingerprint;
  const b = other.fingerprint;
  if (a === undefined || b === undefined) return [];
  return facts.filter(([key]) => a[key] !== b[key]).map(([, label]) => label);
}
