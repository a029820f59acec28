import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseRunConfig } from '../../../src/config/parseRunConfig';
import { evaluationTasks } from '../../../src/evaluation/tasks';
import { isObject } from '../../../src/protocol/guards';
import { taskOfFile } from '../../../src/trainer/evaluation/sets';

const folder = 'docs/recipes';
const files = readdirSync(folder).filter((name) => name.endsWith('.dota.json'));
const readme = readFileSync(path.join(folder, 'README.md'), 'utf8');
const table = readme.slice(readme.indexOf('## Where each setting comes from'));

function keysOf(value: unknown, prefix = ''): string[] {
  if (!isObject(value)) return [prefix];
  return Object.entries(value).flatMap(([key, inner]) =>
    keysOf(inner, prefix === '' ? key : `${prefix}.${key}`),
  );
}

describe('the recipes for the paper’s setting', () => {
  it('are two models x two sets, each also in 4 bits', () => {
    expect(files).toHaveLength(8);
  });

  it.each(files)('%s is a valid configuration', (name) => {
    const file = path.join(folder, name);
    const config = parseRunConfig(readFileSync(file, 'utf8'), file);
    expect(config.method).toBe('dota');
    expect(config.quantization.load_in_4bit).toBe(name.includes('qdota'));
  });

  it.each(files)('%s names the test sets of its kind, as the program finds them', (name) => {
    const file = path.join(folder, name);
    const { data } = parseRunConfig(readFileSync(file, 'utf8'), file);
    const group = name.includes('math') ? 'arithmetic' : 'commonsense';
    const found = (data.test_sets ?? []).map((set) => taskOfFile(set)?.id);
    expect(found).toEqual(evaluationTasks.filter((task) => task.group === group).map((t) => t.id));
    expect(found).toHaveLength(group === 'arithmetic' ? 4 : 8);
  });

  it.each(files)('%s sets no key whose source the table does not name', (name) => {
    const raw: unknown = JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
    const unexplained = keysOf(raw)
      .filter((key) => key !== '$schema' && key !== 'name')
      .filter((key) => !table.includes(`\`${key}\``));
    expect(unexplained).toEqual([]);
  });

  it('mark each setting as the paper’s, the protocol’s or ours', () => {
    const rows = table.split('\n').filter((line) => line.startsWith('| `'));
    expect(rows.length).toBeGreaterThan(10);
    expect(rows.filter((row) => !/\| (paper|protocol|our choice)/.test(row))).toEqual([]);
  });
});
