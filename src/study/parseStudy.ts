import { parseConfig } from '../config/parseConfig';
import { studyConfigSchema, type StudyConfig } from './studyConfig';

/**
 * Parses and validates the text of a `*.dota-study.json`.
 * @throws DotaError `config.invalid`, naming every offending key
 */
export function parseStudy(text: string, where: string): StudyConfig {
  return parseConfig(studyConfigSchema, text, where);
}
