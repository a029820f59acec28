import type { Architecture } from './architecture';
import { llama } from './llama';
import { mistral } from './mistral';
import { qwen2 } from './qwen2';
import { qwen3 } from './qwen3';

/** Every supported family. */
export const architectures: readonly Architecture[] = [llama, mistral, qwen2, qwen3];

export function findArchitecture(modelType: string): Architecture | undefined {
  return architectures.find((architecture) => architecture.modelType === modelType);
}

/** For messages: `llama, mistral, ...`. */
export function supportedArchitectures(): string {
  return architectures.map((architecture) => architecture.modelType).join(', ');
}
