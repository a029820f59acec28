/** What the Try Prompt panel asks, as a command of the trainer. */
import type { PromptRequest } from '../protocol/promptPanel';

export interface PromptTarget {
  name: string;
  /** A model folder, or a run that stands for its base model. */
  model: string;
  /** The run whose adapter answers beside the base. */
  run?: string;
}

/** The command line of one request. The prompt is one argument, whatever it starts with. */
export function promptArguments(
  { model, run }: PromptTarget,
  { prompt, template, maxNewTokens, temperature }: PromptRequest,
): string[] {
  return [
    ...['generate', model, `--prompt=${prompt}`, '--template', template],
    ...['--max-new-tokens', String(maxNewTokens), '--stream'],
    ...(temperature > 0 ? ['--temperature', String(temperature)] : ['--greedy']),
    ...(run === undefined ? [] : ['--adapter', run, '--compare']),
  ];
}
