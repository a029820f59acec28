/** From a row to text, by the template that the configuration names or the row's fields suggest. */
import { field, type Row } from '../readers/row';
import { renderAlpaca } from './alpaca';
import { parseMessages, renderChat } from './chat';
import { renderLlmAdapters } from './llmAdapters';
import { optionalText, textField, type Rendered, type RowPlace } from './rendered';

export type TemplateName = 'plain' | 'alpaca' | 'llm-adapters' | 'chat';

/** What `auto` means for a row: the first family whose fields it has. */
export function chooseTemplate(row: Row): TemplateName {
  const has = (name: string): boolean => field(row, name) !== undefined;
  if (has('messages') || has('conversations')) return 'chat';
  if (has('instruction') && has('output')) return has('answer') ? 'llm-adapters' : 'alpaca';
  return 'plain';
}

/**
 * @param purpose the prompt as trained on, or as evaluated (they differ in `llm-adapters` only)
 * @throws DotaError `data.malformed` naming the missing field
 */
export function renderRow(
  row: Row,
  template: TemplateName,
  place: RowPlace,
  purpose: 'train' | 'eval' = 'train',
): Rendered {
  switch (template) {
    case 'plain':
      return renderPlain(row, place);
    case 'alpaca':
      return renderAlpaca(row, place);
    case 'llm-adapters':
      return renderLlmAdapters(row, place, purpose);
    case 'chat':
      return renderChat(row, place);
  }
}

/** `{text}`, or `{prompt, completion}` as strings or as message lists (TRL's conversational form). */
function renderPlain(row: Row, place: RowPlace): Rendered {
  const prompt = field(row, 'prompt');
  const completion = field(row, 'completion');
  if (Array.isArray(prompt) && Array.isArray(completion)) {
    const messages = [...parseMessages(prompt, place), ...parseMessages(completion, place)];
    return { kind: 'chat', messages, tools: field(row, 'tools') };
  }
  if (prompt !== undefined || completion !== undefined) {
    return {
      kind: 'completion',
      prompt: optionalText(row, 'prompt', place) ?? '',
      completion: textField(row, 'completion', place),
    };
  }
  return { kind: 'text', text: textField(row, 'text', place) };
}
