/** Shapes and bonds module by module, as a JSON file: what the explorer hands to `dota decompose`. */
import type { MpoShape } from '../core/mpo/types';
import { DotaError } from '../protocol/errors';
import { isObject } from '../protocol/guards';

export interface ModulePlan {
  shape?: MpoShape;
  /** d_1 .. d_{n-1} */
  ranks?: readonly number[];
}

/**
 * `{ "<module>": { "rows": [8, 8], "cols": [8, 8], "ranks": [16] }, ... }`; `rows` and `cols` belong
 * together, each of shape and ranks may be left out.
 * @throws DotaError `config.invalid` with the module at fault
 */
export function parsePlan(text: string, file: string): ReadonlyMap<string, ModulePlan> {
  const fail = (message: string, where = file): never => {
    throw new DotaError('config.invalid', message, {
      where,
      next: 'Write {"<module>": {"rows": [8, 8], "cols": [8, 8], "ranks": [16]}, ...}.',
    });
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return fail('Not valid JSON.');
  }
  if (!isObject(json)) return fail('Not a JSON object.');
  return new Map(
    Object.entries(json).map(([module, raw]): [string, ModulePlan] => {
      const where = `${file}: ${JSON.stringify(module)}`;
      if (!isObject(raw)) return fail('Not a JSON object.', where);
      const list = (name: 'rows' | 'cols' | 'ranks'): number[] | undefined => {
        const value = raw[name];
        if (value === undefined) return undefined;
        if (Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n > 0))
          return value as number[];
        return fail(`${name} is no list of positive whole numbers.`, where);
      };
      const [rows, cols, ranks] = [list('rows'), list('cols'), list('ranks')];
      if ((rows === undefined) !== (cols === undefined))
        return fail('rows and cols belong together.', where);
      return [
        module,
        {
          ...(rows === undefined || cols === undefined ? {} : { shape: { rows, cols } }),
          ...(ranks === undefined ? {} : { ranks }),
        },
      ];
    }),
  );
}
