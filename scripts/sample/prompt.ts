/** The prompts in which instruction data is shown to the model. */

const header =
  'Below is an instruction that describes a task. Write a response that appropriately completes the request.';
/** The indentation of LLM-Adapters' prompt: part of the prompt, an accident of its f-string. */
const indent = ' '.repeat(16);

export type PromptStyle = 'alpaca' | 'llm-adapters';

/** Everything up to where the response begins. */
export function promptOf(style: PromptStyle, instruction: string): string {
  switch (style) {
    case 'alpaca':
      return `${header}\n\n### Instruction:\n${instruction}\n\n### Response:\n`;
    case 'llm-adapters':
      return [
        `${header}  `,
        '',
        `${indent}### Instruction:`,
        `${indent}${instruction}`,
        indent,
        `${indent}### Response:`,
        indent,
      ].join('\n');
  }
}
