/** What an export lost, as the trainer measured it, in a sentence for people. */
import { isNumber, isObject } from '../protocol/guards';

/**
 * @param result last line of `dota export --json`
 * @returns empty where nothing was lost, else a sentence that begins with a space
 */
export function exportLoss(result: unknown): string {
  if (!isObject(result)) return '';
  const parts: string[] = [];
  const add = (share: unknown, text: string): void => {
    if (isNumber(share) && share > 0) parts.push(`${(100 * share).toPrecision(2)} % ${text}`);
  };
  add(result.relative_error, 'of the weights’ norm by the file’s types');
  add(result.worst_rounding, 'of a change at most by rounding to the base model’s type');
  add(worstModule(result.modules), 'of a change’s norm at most by the conversion');
  const lost = parts.length === 0 ? '' : ` Lost: ${parts.join(', ')}.`;
  const { four_bit_error: fourBit } = result;
  const stored =
    isNumber(fourBit) && fourBit > 0
      ? ` The run’s 4-bit weights differ from the full-precision ones by ${(100 * fourBit).toPrecision(2)} % of their norm.`
      : '';
  return lost + stored;
}

function worstModule(modules: unknown): number | undefined {
  if (!Array.isArray(modules)) return undefined;
  const errors = modules.flatMap((module: unknown) =>
    isObject(module) && isNumber(module.relative_error) ? [module.relative_error] : [],
  );
  return errors.length === 0 ? undefined : Math.max(...errors);
}
