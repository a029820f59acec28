import { describe, expect, it } from 'vitest';
import { cutAtStop, streamedText } from '../../../src/trainer/generation/text';

describe('the text of an answer', () => {
  it('ends before the first stop text', () => {
    expect(cutAtStop('one two three', ['three', 'two'])).toEqual({ text: 'one ', stopped: true });
    expect(cutAtStop('one', ['two', ''])).toEqual({ text: 'one', stopped: false });
  });

  it('holds back what may become a stop text or a character', () => {
    expect(streamedText('so\n##', ['\n### ', 'x'])).toBe('so');
    expect(streamedText('so far', ['###'])).toBe('so far');
    expect(streamedText('caf\uFFFD', [])).toBe('caf');
    expect(streamedText('', ['a'])).toBe('');
  });
});
