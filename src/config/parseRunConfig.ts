import { parseConfig } from './parseConfig';
import { runConfigSchema, type RunConfig } from './runConfig';

/**
 * Parses and validates the text of a `*.dota.json`.
 * @param where file name for the message
 * @throws DotaError `config.invalid`, naming every offending key
 */
export function parseRunConfig(text: string, where: string): RunConfig {
  return parseConfig(runConfigSchema, text, where);
}
