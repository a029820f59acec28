/** What a template makes of a row: text with a known boundary between prompt and answer. */
import { field, malformedRow, type Row } from '../readers/row';

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  /** As given, for templates that show them. */
  toolCalls?: unknown;
}

export type Rendered =
  /** Trained on the completion (or on both, by the loss mask). */
  | { kind: 'completion'; prompt: string; completion: string }
  /** Language modelling: everything is trained on. */
  | { kind: 'text'; text: string }
  /** Rendered by the model's chat template. */
  | { kind: 'chat'; messages: readonly ChatMessage[]; tools: unknown };

/** Place of a row, for messages. */
export interface RowPlace {
  file: string;
  line: number;
}

/**
 * A field that must be text; numbers and booleans are taken as written.
 * @throws DotaError `data.malformed`
 */
export function textField(row: Row, name: string, place: RowPlace): string {
  const value = optionalText(row, name, place);
  if (value === undefined) {
    const keys = Object.keys(row).slice(0, 12).join(', ');
    throw malformedRow(
      place.file,
      place.line,
      `The row has no field ${name} (it has: ${keys.slice(0, 200)})`,
      'Choose another template, or add the field.',
    );
  }
  return value;
}

/** As `textField`, but absent and null give undefined. */
export function optionalText(row: Row, name: string, place: RowPlace): string | undefined {
  const value = field(row, name);
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw malformedRow(place.file, place.line, `The field ${name} is not text`);
}
