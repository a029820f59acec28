import { renderRow } from '../../src/data/templates/template';

export type PromptStyle = 'alpaca' | 'llm-adapters';

/** Everything up to where the response begins, by the product's own templates. */
export function promptOf(style: PromptStyle, instruction: string): string {
  const place = { file: 'scripts/sample', line: 0 };
  const rendered = renderRow({ instruction, input: '', output: '' }, style, place);
  if (rendered.kind !== 'completion') throw new Error(`${style} has no prompt.`);
  return rendered.prompt;
}
