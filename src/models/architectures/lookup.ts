/** Finds the description of a model family. */
import { DotaError } from '../../protocol/errors';
import type { DecoderConfig } from '../modelConfig';
import type { Architecture } from './architecture';
import { architectures } from './descriptions';

/** @param modelType of a config.json */
export function findArchitecture(modelType: string): Architecture | undefined {
  return architectures.find((architecture) => architecture.modelType === modelType);
}

/** The description that a configuration was read by. */
export function architectureOf({ architecture }: DecoderConfig): Architecture {
  const found = findArchitecture(architecture);
  if (found === undefined) throw new DotaError('internal', `No description of ${architecture}.`);
  return found;
}

/** For messages: `llama, mistral, ...`. */
export function supportedArchitectures(): string {
  return architectures.map(({ modelType }) => modelType).join(', ');
}
