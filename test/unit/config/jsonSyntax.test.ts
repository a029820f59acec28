import { describe, expect, it } from 'vitest';
import { parseRunConfig } from '../../../src/config/parseRunConfig';

const message = (text: string): string => {
  try {
    parseRunConfig(text, 'run.dota.json');
  } catch (cause) {
    return (cause as Error).message;
  }
  throw new Error('was accepted');
};

describe('a run configuration that is no JSON', () => {
  it('names line and column of the offence', () => {
    expect(message('{\n  "model": "sample",\n  "method": oops\n}')).toContain('Line 3, column 13');
  });

  it('names the end of a text that stops too early', () => {
    expect(message('{\n  "model":')).toContain('Line 2, column 11');
  });

  it('does not count a byte-order mark', () => {
    expect(message('\uFEFF[1,}')).toContain('Line 1, column 4');
  });
});
