/** Stanford Alpaca's prompt, with a line break before the response as in alpaca-lora. */
import type { Row } from '../readers/row';
import { optionalText, textField, type Rendered, type RowPlace } from './rendered';

export const alpacaHeader =
  'Below is an instruction that describes a task. Write a response that appropriately completes the request.';
export const alpacaHeaderWithInput =
  'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.';

export function renderAlpaca(row: Row, place: RowPlace): Rendered {
  const instruction = textField(row, 'instruction', place);
  const input = optionalText(row, 'input', place) ?? '';
  const prompt =
    input === ''
      ? `${alpacaHeader}\n\n### Instruction:\n${instruction}\n\n### Response:\n`
      : `${alpacaHeaderWithInput}\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:\n`;
  return { kind: 'completion', prompt, completion: textField(row, 'output', place) };
}
