/**
 * From a rendered row to token ids with a loss mask. The mask is kept by position, never by id, so
 * an end token is learned even where it is also the padding token.
 */
import { DotaError } from '../protocol/errors';
import type { Tokenizer } from '../models/tokenizer';
import { ChatEncoder } from './chatEncoding';
import type { Row } from './readers/row';
import { malformedRow } from './readers/row';
import type { Rendered, RowPlace } from './templates/rendered';
import { chooseTemplate, renderRow, type TemplateName } from './templates/template';
import { countTargets } from './tokenizedSet';

export interface ExampleOptions {
  template: TemplateName | 'auto';
  lossMask: 'completion' | 'assistant' | 'all';
  maxLength: number;
  truncation: 'keep_start' | 'drop' | 'error';
  /** Cut a long text into sequences of `maxLength` instead of truncating it (text files). */
  splitLongText?: boolean;
}

/** What the user should know about a row. */
export interface RowNotes {
  /** Tokens before truncation. */
  length: number;
  truncated: boolean;
  /** The answer is blank; the row is dropped. */
  empty: boolean;
  /** Nothing is left to learn after truncation; the row is dropped. */
  withoutLabels: boolean;
  /** The text starts with a BOS token of its own; only one is kept. */
  doubleBos: boolean;
  /** Special tokens spelled in the text; they are encoded as plain text. */
  specialText: number;
  /** Prompt and answer share a token when encoded together. */
  promptNotPrefix: boolean;
}

export interface EncodedRow {
  /** Usually one; none when the row is dropped; several for a long text. */
  examples: { inputIds: readonly number[]; lossMask: readonly number[] }[];
  notes: RowNotes;
}

interface Sequence {
  inputIds: number[];
  lossMask: number[];
}

export class ExampleEncoder {
  private readonly chat: ChatEncoder;
  /** Whether encoding alone puts a blank in front (Llama 2), so that pieces cannot be joined. */
  private readonly addsBlank: boolean;

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly options: ExampleOptions,
  ) {
    this.chat = new ChatEncoder(tokenizer);
    this.addsBlank = tokenizer.pieces.texts(tokenizer.encode('a')).join('') !== 'a';
  }

  /**
   * @throws DotaError `data.malformed` (a missing field; a long row with truncation `error`),
   *   `template.failed`
   */
  encode(row: Row, place: RowPlace): EncodedRow {
    const notes: RowNotes = {
      length: 0,
      truncated: false,
      empty: false,
      withoutLabels: false,
      doubleBos: false,
      specialText: 0,
      promptNotPrefix: false,
    };
    const template = this.options.template === 'auto' ? chooseTemplate(row) : this.options.template;
    const rendered = renderRow(row, template, place);
    if (isEmpty(rendered)) return { examples: [], notes: { ...notes, empty: true } };
    const sequence = this.sequence(rendered, notes, place);
    notes.length = sequence.inputIds.length;
    const pieces = this.fit(sequence, rendered.kind === 'text', notes, place);
    const examples = pieces.filter((piece) => countTargets(piece.lossMask) > 0);
    if (pieces.length > 0 && examples.length === 0) notes.withoutLabels = true;
    return { examples, notes };
  }

  /**
   * The ids that generation starts from: what precedes the answer.
   * @throws DotaError as `encode`
   */
  encodePrompt(row: Row, place: RowPlace, purpose: 'train' | 'eval' = 'eval'): number[] {
    const template = this.options.template === 'auto' ? chooseTemplate(row) : this.options.template;
    const rendered = renderRow(row, template, place, purpose);
    switch (rendered.kind) {
      case 'completion':
        return [...this.tokenizer.prefixIds, ...this.tokenizer.encode(rendered.prompt)];
      case 'text':
        return [...this.tokenizer.prefixIds, ...this.tokenizer.encode(rendered.text)];
      case 'chat':
        return this.chat.prompt(rendered);
    }
  }

  private sequence(rendered: Rendered, notes: RowNotes, place: RowPlace): Sequence {
    switch (rendered.kind) {
      case 'completion':
        return this.completion(rendered, notes);
      case 'text': {
        const text = this.clean(rendered.text, notes, true, true);
        const ids = this.tokenizer.encode(text);
        return this.assemble(
          ids,
          ids.map(() => 1),
        );
      }
      case 'chat': {
        const encoded = this.chat.encode(rendered, this.options.lossMask, place);
        notes.doubleBos = encoded.doubleBos;
        notes.specialText = encoded.specialText;
        notes.promptNotPrefix = encoded.promptNotPrefix;
        return encoded;
      }
    }
  }

  private completion(
    rendered: Extract<Rendered, { kind: 'completion' }>,
    notes: RowNotes,
  ): Sequence {
    const prompt = this.clean(rendered.prompt, notes, true, false);
    const completion = this.clean(rendered.completion, notes, prompt === '', true);
    const promptIds = this.tokenizer.encode(prompt);
    const jointIds = this.tokenizer.encode(prompt + completion);
    let shared = 0;
    while (shared < promptIds.length && promptIds[shared] === jointIds[shared]) shared++;
    notes.promptNotPrefix = shared < promptIds.length;
    if (this.options.lossMask === 'all')
      return this.assemble(
        jointIds,
        jointIds.map(() => 1),
      );
    if (notes.promptNotPrefix && !this.addsBlank) {
      // Train on what generation will see: the prompt's own ids, then the answer's.
      const ids = [...promptIds, ...this.tokenizer.encode(completion)];
      return this.assemble(
        ids,
        ids.map((_, i) => (i < promptIds.length ? 0 : 1)),
      );
    }
    return this.assemble(
      jointIds,
      jointIds.map((_, i) => (i < shared ? 0 : 1)),
    );
  }

  /** Puts the tokenizer's prefix (BOS) in front and the end token behind. */
  private assemble(ids: readonly number[], lossMask: readonly number[]): Sequence {
    const { prefixIds, eosTokenId } = this.tokenizer;
    const end = eosTokenId === undefined ? [] : [eosTokenId];
    return {
      inputIds: [...prefixIds, ...ids, ...end],
      lossMask: [...prefixIds.map(() => 0), ...lossMask, ...end.map(() => 1)],
    };
  }

  /** Takes BOS and EOS out where the data spells them at the ends, and counts what is left. */
  private clean(text: string, notes: RowNotes, atStart: boolean, atEnd: boolean): string {
    const { bosToken, eosToken } = this.tokenizer.settings;
    let cleaned = text;
    if (atStart && bosToken !== undefined && cleaned.startsWith(bosToken)) {
      if (this.tokenizer.prefixIds.length > 0) notes.doubleBos = true;
      cleaned = cleaned.slice(bosToken.length);
    }
    if (atEnd && eosToken !== undefined && cleaned.endsWith(eosToken)) {
      cleaned = cleaned.slice(0, -eosToken.length);
    }
    notes.specialText += this.tokenizer.countSpecialText(cleaned);
    return cleaned;
  }

  private fit(sequence: Sequence, isText: boolean, notes: RowNotes, place: RowPlace): Sequence[] {
    const { maxLength, truncation, splitLongText } = this.options;
    const { inputIds, lossMask } = sequence;
    if (inputIds.length <= maxLength) return [sequence];
    const piece = (from: number): Sequence => ({
      inputIds: inputIds.slice(from, from + maxLength),
      lossMask: lossMask.slice(from, from + maxLength),
    });
    if (isText && splitLongText === true) {
      const pieces: Sequence[] = [];
      for (let from = 0; from < inputIds.length; from += maxLength) pieces.push(piece(from));
      return pieces;
    }
    notes.truncated = true;
    switch (truncation) {
      case 'keep_start':
        return [piece(0)];
      case 'drop':
        return [];
      case 'error':
        throw malformedRow(
          place.file,
          place.line,
          `The row has ${inputIds.length} tokens, max_length is ${maxLength}`,
          'Raise max_length, or set truncation to "keep_start" or "drop".',
        );
    }
  }
}

function isEmpty(rendered: Rendered): boolean {
  switch (rendered.kind) {
    case 'completion':
      return rendered.completion.trim() === '';
    case 'text':
      return rendered.text.trim() === '';
    case 'chat':
      return !rendered.messages.some((m) => m.role === 'assistant');
  }
}

/** @throws DotaError `data.empty` */
export function requireRows(count: number, file: string, what: string): void {
  if (count > 0) return;
  throw new DotaError('data.empty', `${what} has no usable row.`, {
    where: file,
    next: 'Look at the dataset preview for what was dropped and why.',
  });
}
