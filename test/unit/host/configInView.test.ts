import { describe, expect, it } from 'vitest';
import { configInView } from '../../../src/commands/configInView';

const file = (path: string) => ({ scheme: 'file', path });
const one = file('/w/one.dota.json');
const two = file('/w/two.dota.json');
const text = file('/w/notes.txt');

describe('the configuration that a command means', () => {
  it('is that of the tab while the text editor is not known yet', () => {
    expect(configInView(one, undefined)).toBe(one);
  });

  it('is never the one before: neither for another configuration nor for another file', () => {
    expect(configInView(two, one)).toBe(two);
    expect(configInView(text, one)).toBeUndefined();
  });

  it('is that of the text editor where the tab is not that of one text', () => {
    expect(configInView(undefined, one)).toBe(one);
  });

  it('is none where neither shows a configuration on the disk', () => {
    expect(configInView(undefined, undefined)).toBeUndefined();
    expect(configInView(undefined, text)).toBeUndefined();
    expect(configInView({ scheme: 'git', path: one.path }, undefined)).toBeUndefined();
    expect(configInView(file('/w/one.dota.json.bak'), undefined)).toBeUndefined();
    expect(configInView(file('/w/s.dota-study.json'), undefined)).toBeUndefined();
  });
});
