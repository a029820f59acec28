/**
 * A model's chat template, run by the interpreter of `@huggingface/jinja`. A template is code from
 * elsewhere: the interpreter gives it no access to the host, this module adds limits on steps and
 * sizes, and the trainer child is the only process that runs it.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { DotaError } from '../../protocol/errors';
import type { ChatMessage } from './rendered';

/** Half a second of work at most; a conversation of 1000 messages takes some 50,000 steps. */
const limits = {
  templateCharacters: 256 * 1024,
  steps: 1_000_000,
  characters: 4 * 1024 * 1024,
  items: 100_000,
} as const;

class LimitError extends Error {}

/** The parts of the syntax tree that the limits look at. */
interface SyntaxNode {
  type: string;
  iterable?: SyntaxNode;
  lhs?: SyntaxNode;
}

/** Counts evaluated nodes and measures every value; the base class calls this for each node. */
class LimitedInterpreter extends Interpreter {
  private steps = 0;
  /** What loops run over: an iteration costs as much as several nodes, even with an empty body. */
  private readonly iterables = new Set<SyntaxNode>();

  override evaluate(
    ...[statement, environment]: Parameters<Interpreter['evaluate']>
  ): ReturnType<Interpreter['evaluate']> {
    if (++this.steps > limits.steps) throw new LimitError('it runs too long');
    const node = statement as SyntaxNode | undefined;
    if (node?.type === 'For' && node.iterable !== undefined) {
      // A loop with a condition evaluates the list on the left of it.
      this.iterables.add(node.iterable.lhs ?? node.iterable);
    }
    const result = super.evaluate(statement, environment);
    const value: unknown = result.value;
    if (typeof value === 'string' && value.length > limits.characters) {
      throw new LimitError('its text grows too long');
    }
    if (Array.isArray(value)) {
      if (value.length > limits.items) throw new LimitError('a list in it grows too long');
      const looped = node !== undefined && this.iterables.has(node);
      this.steps += looped ? 10 * value.length : value.length / 16;
    }
    return result;
  }
}

/** The template's variables, besides the messages. */
export interface TemplateVariables {
  bosToken?: string | undefined;
  eosToken?: string | undefined;
}

export class ChatTemplate {
  private readonly program: ReturnType<typeof parse>;

  /**
   * @param source Jinja text of `tokenizer_config.json` or `chat_template.jinja`
   * @throws DotaError `template.failed`
   */
  constructor(
    source: string,
    private readonly variables: TemplateVariables,
    private readonly where: string,
  ) {
    if (source.length > limits.templateCharacters) throw this.failed('it is too long');
    try {
      // Python opens template files with universal newlines; the lexer here does not.
      const tokens = tokenize(source.replaceAll('\r\n', '\n'), {
        lstrip_blocks: true,
        trim_blocks: true,
      });
      this.program = parse(tokens);
    } catch (cause) {
      throw this.failed(messageOf(cause), cause);
    }
  }

  /**
   * @param addGenerationPrompt end with the header of the assistant's turn
   * @throws DotaError `template.failed`, with the template's own message where it raises one
   */
  render(
    messages: readonly ChatMessage[],
    options: { addGenerationPrompt: boolean; tools?: unknown },
  ): string {
    try {
      const environment = new Environment();
      for (const [name, value] of Object.entries(this.globals(messages, options))) {
        environment.set(name, value);
      }
      return String(new LimitedInterpreter(environment).run(this.program).value);
    } catch (cause) {
      throw this.failed(messageOf(cause), cause);
    }
  }

  /** `strftime_now` is left undefined: with it, the same data would differ from day to day. */
  private globals(
    messages: readonly ChatMessage[],
    options: { addGenerationPrompt: boolean; tools?: unknown },
  ): Record<string, unknown> {
    return {
      true: true,
      false: false,
      none: null,
      True: true,
      False: false,
      None: null,
      range: limitedRange,
      raise_exception: (message: unknown) => {
        throw new Error(String(message));
      },
      messages: messages.map(({ role, content, toolCalls }) => ({
        role,
        content,
        ...(toolCalls === undefined ? {} : { tool_calls: toolCalls }),
      })),
      ...(options.tools === undefined || options.tools === null ? {} : { tools: options.tools }),
      add_generation_prompt: options.addGenerationPrompt,
      bos_token: this.variables.bosToken ?? '',
      eos_token: this.variables.eosToken ?? '',
    };
  }

  private failed(problem: string, cause?: unknown): DotaError {
    const text = problem.slice(0, 300).replace(/\.$/, '');
    return new DotaError('template.failed', `The chat template cannot be used: ${text}.`, {
      where: this.where,
      next: 'Check the conversation, or choose the template "alpaca" or "plain".',
      cause,
    });
  }
}

function messageOf(cause: unknown): string {
  if (cause instanceof RangeError) return 'it needs too much memory or nests too deeply';
  return cause instanceof Error ? cause.message : String(cause);
}

function limitedRange(first: unknown, second?: unknown, step: unknown = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (typeof start !== 'number' || typeof stop !== 'number' || typeof step !== 'number') {
    throw new Error('range() takes numbers');
  }
  if (step === 0) throw new Error('range() step must not be zero');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= limits.items)) throw new LimitError('range() is too long');
  return Array.from({ length }, (_, i) => start + i * step);
}
