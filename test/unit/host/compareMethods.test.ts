import { describe, expect, it } from 'vitest';
import { studyFromChoice, studyMethods } from '../../../src/commands/studyFile';
import {
  parseCompareHostMessage,
  parseCompareViewMessage,
} from '../../../src/protocol/comparePanel';
import { parseStudy } from '../../../src/study/parseStudy';
import { compareRuns } from '../../webview/compareData';

describe('the study of the quick pick', () => {
  it('is a valid study whichever methods are chosen', () => {
    for (const method of Object.keys(studyMethods)) {
      const text = JSON.stringify(studyFromChoice([method], 3));
      const study = parseStudy(text, 'x.dota-study.json');
      expect(Object.keys(study.methods)).toEqual([method]);
      expect(study.seeds).toEqual([0, 1, 2]);
    }
  });

  it('leaves out a method that is not on offer', () => {
    const { methods } = studyFromChoice(['DoTA', 'no such'], 1);
    expect(Object.keys(methods)).toEqual(['DoTA']);
  });
});

describe('messages of the compare panel', () => {
  it('are taken where they are whole', () => {
    const message = { type: 'runs', title: 't', runs: compareRuns() };
    expect(parseCompareHostMessage(message)).toBe(message);
    expect(parseCompareViewMessage({ type: 'export', fileName: 'a', text: 'b' })).toEqual({
      type: 'export',
      fileName: 'a',
      text: 'b',
    });
  });

  it.each([
    null,
    7,
    { type: 'runs', title: 't', runs: [{ id: 'x' }] },
    { type: 'progress', text: 1 },
    { type: 'export', fileName: 'a' },
    { type: 'other' },
  ])('are ignored where they are not: %j', (junk) => {
    expect(parseCompareHostMessage(junk)).toBeUndefined();
    expect(parseCompareViewMessage(junk)).toBeUndefined();
  });
});
