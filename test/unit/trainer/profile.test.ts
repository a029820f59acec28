import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addProfile, type SpentTime } from '../../../src/trainer/profile/ortProfile';
import { runCli } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

let place: string;
beforeAll(async () => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-profiled-'));
  await writeTinyWorkspace(place);
});
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

describe('the runtime’s profile', () => {
  it('is summed by operator and phase, without the first run', () => {
    const node = (op: string, ts: number, dur: number) => ({
      cat: 'Node',
      name: `${op}_kernel_time`,
      ts,
      dur,
      args: { op_name: op },
    });
    const run = (ts: number, dur: number) => ({ cat: 'Session', name: 'model_run', ts, dur });
    const events = [
      run(0, 100),
      node('Gemm', 10, 80),
      run(200, 50),
      node('Gemm', 205, 20),
      node('Add', 230, 10),
      run(300, 70),
      node('Gemm', 305, 30),
      { anything: 'else' },
    ];
    const spent: SpentTime = { operators: new Map(), phases: new Map() };
    addProfile(spent, 'forward', JSON.stringify(events));
    addProfile(spent, 'never ran', '[');
    expect([...spent.operators.keys()]).toEqual(['Gemm', 'Add']);
    expect(spent.operators.get('Gemm')).toBeCloseTo(0.05, 9);
    expect(spent.operators.get('Add')).toBeCloseTo(0.01, 9);
    expect([...spent.phases.keys()]).toEqual(['forward']);
    expect(spent.phases.get('forward')).toBeCloseTo(0.12, 9);
  });
});

describe('dota profile', () => {
  it('accounts for a step and leaves nothing behind', async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('dota-profile-'));
    const result = await runCli(['profile', 'tiny.dota.json', '--steps', '2', '--json'], place);
    expect(result.stderr).toBe('');
    expect(result.code).toBe(0);
    const profile = result.json as {
      stepMs: number;
      tokensPerStep: number;
      tokensPerSecond: number;
      gflopPerStep: number;
      operators: Record<string, number>;
      phases: Record<string, number>;
      memoryMb: Record<string, number>;
    };
    expect(Object.keys(profile.phases)).toEqual(
      expect.arrayContaining(['forward', 'backward', 'head', 'optimizer']),
    );
    expect(profile.operators['Gemm']).toBeGreaterThan(0);
    // Operators run inside of the runs that the phases count.
    const sum = (times: Record<string, number>) => Object.values(times).reduce((a, b) => a + b, 0);
    expect(sum(profile.operators)).toBeLessThan(sum(profile.phases));
    expect(profile.tokensPerSecond).toBeCloseTo((1000 * profile.tokensPerStep) / profile.stepMs, 3);
    const { parameters, gradients, optimizer } = profile.memoryMb;
    expect(gradients).toBe(parameters);
    expect(optimizer).toBeCloseTo(2 * parameters!, 9);
    expect(profile.memoryMb['activations']).toBeGreaterThan(0);
    const after = readdirSync(tmpdir()).filter((name) => name.startsWith('dota-profile-'));
    expect(after.filter((name) => !before.includes(name))).toEqual([]);
  });

  it('has the weights of a 4-bit run as the estimate has them', async () => {
    const fourBit = ['--set', 'quantization.load_in_4bit=true', '--json'];
    const run = async (...args: string[]) => {
      const { code, json, stderr } = await runCli([...args, ...fourBit], place);
      expect(code, stderr).toBe(0);
      return json as { memoryMb: { weights: number }; bytes: { weights: number } };
    };
    const { memoryMb } = await run('profile', 'tiny.dota.json', '--steps', '1');
    const { bytes } = await run('train', 'tiny.dota.json', '--estimate');
    // Embedding and norms are not in 4 bits; the estimate is held to arrays elsewhere.
    expect(memoryMb.weights * 2 ** 20).toBeCloseTo(bytes.weights, 3);
  });
});
