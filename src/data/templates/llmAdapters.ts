/**
 * The prompts of LLM-Adapters, byte for byte. They are Alpaca's with accidents of Python f-strings:
 * every line after the first is indented by 16 blanks, and training (`finetune.py`) and evaluation
 * (`evaluate.py`, `commonsense_evaluate.py`) differ in blanks. Published numbers depend on them.
 *
 *                              training              evaluation
 * after the header, no input   two blanks            one blank
 * after the header, input      one blank             nothing
 * line between the sections    16 blanks             empty
 * Source: https://github.com/AGI-Edgerunners/LLM-Adapters
 */
import type { Row } from '../readers/row';
import { alpacaHeader, alpacaHeaderWithInput } from './alpaca';
import { optionalText, textField, type Rendered, type RowPlace } from './rendered';

const indent = ' '.repeat(16);

/** Everything up to where the response starts: the line break and 16 blanks after its header. */
export function llmAdaptersPrompt(
  purpose: 'train' | 'eval',
  instruction: string,
  input: string,
): string {
  const separator = purpose === 'train' ? indent : '';
  const header =
    input === ''
      ? alpacaHeader + (purpose === 'train' ? '  ' : ' ')
      : alpacaHeaderWithInput + (purpose === 'train' ? ' ' : '');
  const section = (name: string, text: string): string[] => [
    `${indent}### ${name}:`,
    `${indent}${text}`,
    separator,
  ];
  return [
    header,
    '',
    ...section('Instruction', instruction),
    ...(input === '' ? [] : section('Input', input)),
    `${indent}### Response:`,
    indent,
  ].join('\n');
}

export function renderLlmAdapters(row: Row, place: RowPlace, purpose: 'train' | 'eval'): Rendered {
  const instruction = textField(row, 'instruction', place);
  const input = optionalText(row, 'input', place) ?? '';
  return {
    kind: 'completion',
    prompt: llmAdaptersPrompt(purpose, instruction, input),
    completion: textField(row, 'output', place),
  };
}
