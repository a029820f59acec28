/** How a computing process is started. */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { withComputeArguments } from '../../../src/trainer/child/childEnvironment';

describe('arguments of a computing process', () => {
  it('are understood by the Node that runs this', () => {
    const flags = withComputeArguments([]);
    expect(flags).toContain('--single-threaded-gc');
    const print = 'process.stdout.write(JSON.stringify(process.execArgv))';
    const output = execFileSync(process.execPath, [...flags, '-e', print], { encoding: 'utf8' });
    expect(JSON.parse(output)).toEqual(expect.arrayContaining(flags));
  });

  it('follow those that were given, and none is given twice', () => {
    const given = ['--enable-source-maps', '--single-threaded-gc'];
    const flags = withComputeArguments(given);
    expect(flags.slice(0, 2)).toEqual(given);
    expect(new Set(flags).size).toBe(flags.length);
    expect(withComputeArguments(flags)).toEqual(flags);
  });

  it('are left out where the engine may not know them: it would refuse to start', () => {
    expect(withComputeArguments(['--inspect'], '99.1.2')).toEqual(['--inspect']);
    expect(withComputeArguments([], '10.2.154.26')).toEqual([]);
  });
});
