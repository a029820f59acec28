/** Exit codes, help and messages of the command line for what users get wrong. */
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownDeviceOrder } from '../../../src/trainer/training/deviceOrder';
import { runCli, type CliResult } from './cliHarness';
import { tinyConfig, writeTinyWorkspace } from './tinyModel';

let place: string;
beforeAll(async () => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-cli-'));
  await writeTinyWorkspace(place, { training: { max_steps: 2 } });
});
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

function errorOf(result: CliResult): {
  code: string;
  message: string;
  where?: string;
  next?: string;
} {
  const error = result.json?.error;
  if (error === undefined) throw new Error(`no error: ${result.stdout}${result.stderr}`);
  return error as ReturnType<typeof errorOf>;
}

/** Trains a changed copy of the tiny workspace that must fail. */
async function fails(change: {
  config?: Parameters<typeof tinyConfig>[0];
  spoil?: (folder: string) => void;
}): Promise<ReturnType<typeof errorOf> & { exit: number | null; stderr: string }> {
  const folder = mkdtempSync(path.join(place, 'bad-'));
  for (const name of ['model', 'train.json']) {
    cpSync(path.join(place, name), path.join(folder, name), { recursive: true });
  }
  const config = tinyConfig({
    ...change.config,
    training: { max_steps: 2, ...change.config?.training },
  });
  writeFileSync(path.join(folder, 'bad.dota.json'), JSON.stringify(config));
  change.spoil?.(folder);
  const result = await runCli(['train', 'bad.dota.json', '--json'], folder);
  return { ...errorOf(result), exit: result.code, stderr: result.stderr };
}

describe('dota', () => {
  it('has help for every command', async () => {
    const commands = [
      [],
      ['train'],
      ['evaluate'],
      ['decompose'],
      ['doctor'],
      ['runs'],
      ...['list', 'show', 'stop', 'pause', 'resume', 'delete'].map((name) => ['runs', name]),
    ];
    const results = await Promise.all(commands.map((c) => runCli([...c, '--help'], place)));
    for (const result of results) {
      expect(result.code).toBe(0);
      expect(result.stdout).toContain('Usage: dota');
    }
  });

  it.each([
    [['frobnicate']],
    [['train', '--frobnicate']],
    [['train']],
    [['train', 'a.json', '--resume', 'b']],
    [['runs', 'show', '../../etc']],
    [['decompose', 'model', '--rank', 'x']],
    [['evaluate', 'tiny.dota.json', '--limit', '-1']],
  ])('ends with 64 on wrong usage: %j', async (args) => {
    const result = await runCli([...args, '--json'], place);
    // A name with a separator is a path, which does not exist: bad input rather than bad usage.
    const isPath = args.includes('../../etc');
    expect(result.code).toBe(isPath ? 65 : 64);
    expect(errorOf(result).code).toBe(isPath ? 'file.missing' : 'usage');
  });

  it('trains, prints one JSON object last, and evaluates what it trained', async () => {
    const trained = await runCli(['train', 'tiny.dota.json', '--json'], place);
    expect(trained.code).toBe(0);
    expect(trained.json).toMatchObject({ state: 'finished', steps: 2, trainable_parameters: 832 });
    const run = String(trained.json?.run);
    const evaluated = await runCli(
      ['evaluate', run, '--data', 'train.json', '--limit', '5', '--json'],
      place,
    );
    expect(evaluated.code).toBe(0);
    // The same weights on the same batches give the same bits.
    const best = trained.json?.best as { validationLoss: number };
    expect(evaluated.json).toMatchObject({ val_loss: best.validationLoss, total: 5 });
    const again = await runCli(['train', '--resume', run, '--json'], place);
    expect(again.code).toBe(65);
    expect(errorOf(again).code).toBe('run.state');
  });

  it('decomposes', async () => {
    const name = 'model.layers.0.self_attn.q_proj';
    const result = await runCli(['decompose', 'model', name, '--rank', '4', '--json'], place);
    expect(result.code).toBe(0);
    const [module] = result.json?.modules as { module: string; bonds: { dimension: number }[] }[];
    expect(module!.module).toBe(name);
    expect(module!.bonds.map((bond) => bond.dimension)).toEqual([4, 4]);
  });

  it('examines the machine', async () => {
    const result = await runCli(['doctor', '--json'], place);
    expect(result.code).toBe(0);
    expect(result.json).toMatchObject({ ok: true });
    const [cpu] = result.json?.devices as { kind: string; ok: boolean; gflops: number }[];
    expect(cpu).toMatchObject({ kind: 'cpu', ok: true });
    expect(cpu!.gflops).toBeGreaterThan(0);
    expect(result.json).toMatchObject({ chosen: { name: expect.any(String) as string } });
    expect(result.json?.memory_available_mb).toBeLessThan(Number(result.json?.memory_mb));
    const { order, leftOut } = ownDeviceOrder();
    expect(result.json).toMatchObject({ device_order: order, left_out: leftOut });
    const checks = result.json?.checks as { name: string; ok: boolean; text: string }[];
    expect(checks.find(({ name }) => name === 'device order')?.text).toContain(order.join(', '));
    // A device that no run takes is named with its reason.
    for (const { device, why } of leftOut) {
      const check = checks.find(({ name }) => name === `device ${device}`);
      expect(check).toMatchObject({ ok: false, text: expect.stringContaining(why) as string });
    }
  });
});

describe('on a platform that onnxruntime has no build for', () => {
  /** Node.js that says it is one on an Intel Mac. */
  const intelMac = (): Record<string, string> => {
    const shim = path.join(place, 'intel.cjs');
    writeFileSync(
      shim,
      "Object.defineProperty(process, 'platform', { value: 'darwin' });" +
        "Object.defineProperty(process, 'arch', { value: 'x64' });",
    );
    return { NODE_OPTIONS: `--require ${shim}` };
  };

  it.each([
    ['doctor', ['doctor']],
    ['training', ['train', 'tiny.dota.json', '--root', 'intel']],
    ['the estimate', ['train', 'tiny.dota.json', '--estimate']],
    ['decomposing', ['decompose', 'model', '--rank', '4']],
  ])('%s says so, and what to do', async (_, args) => {
    const result = await runCli([...args, '--json'], place, intelMac());
    expect(result.code).toBe(65);
    expect(errorOf(result)).toMatchObject({
      code: 'device.unavailable',
      message: expect.stringContaining('no build for Intel Macs (darwin-x64)') as string,
      next: expect.stringContaining('built for arm64') as string,
    });
    // Nor is there a run that could not begin.
    expect(existsSync(path.join(place, 'intel'))).toBe(false);
  });

  it('doctor prints its whole report with the error', async () => {
    const { code, json } = await runCli(['doctor', '--json'], place, intelMac());
    expect(code).toBe(65);
    expect(json).toMatchObject({ ok: false, chosen: null, error: { code: 'device.unavailable' } });
    expect(json?.devices).toMatchObject([
      { kind: 'cpu', ok: false },
      { kind: 'webgpu', ok: false },
    ]);
    expect((json?.checks as object[]).length).toBeGreaterThan(5);
  });

  it('doctor lists the devices with the reason', async () => {
    const { stdout } = await runCli(['doctor'], place, intelMac());
    expect(stdout).toContain('no   device order: no device can train on darwin-x64');
    expect(stdout).toMatch(/no {3}device webgpu: .*no build for Intel Macs/);
  });
});

describe('bad input ends with 65 and says where and what next:', () => {
  const inModel = (name: string) => (folder: string) => path.join(folder, 'model', name);

  it('a missing configuration', async () => {
    const result = await runCli(['train', 'nowhere.dota.json', '--json'], place);
    expect(result.code).toBe(65);
    expect(errorOf(result)).toMatchObject({ code: 'file.missing' });
  });

  it('a wrong key', async () => {
    const error = await fails({ config: { trainig: {} } });
    expect(error).toMatchObject({ exit: 65, code: 'config.invalid' });
    expect(error.message).toContain('trainig');
  });

  it('no model', async () => {
    const error = await fails({ config: { model: 'nowhere' } });
    expect(error).toMatchObject({ exit: 65, code: 'file.missing' });
  });

  it('missing weights', async () => {
    const weights = inModel('model.safetensors');
    const error = await fails({
      spoil: (folder) => {
        rmSync(weights(folder));
      },
    });
    expect(error).toMatchObject({ exit: 65, code: 'file.missing' });
  });

  it('truncated weights', async () => {
    const weights = inModel('model.safetensors');
    const error = await fails({
      spoil: (folder) => {
        truncateSync(weights(folder), 5000);
      },
    });
    expect(error).toMatchObject({ exit: 65, code: 'file.malformed' });
    expect(error.where).toContain('model.safetensors');
  });

  it('a wrong shape', async () => {
    const config = inModel('config.json');
    const error = await fails({
      spoil: (folder) => {
        const text = readFileSync(config(folder), 'utf8');
        writeFileSync(
          config(folder),
          text.replace('"intermediate_size":64', '"intermediate_size":80'),
        );
      },
    });
    expect(error).toMatchObject({ exit: 65, code: 'model.shape' });
  });

  it('an unknown architecture', async () => {
    const config = inModel('config.json');
    const error = await fails({
      spoil: (folder) => {
        const text = readFileSync(config(folder), 'utf8');
        writeFileSync(
          config(folder),
          text.replace('LlamaForCausalLM', 'OddForCausalLM').replace('"llama"', '"odd"'),
        );
      },
    });
    expect(error).toMatchObject({ exit: 65, code: 'model.unsupported' });
  });

  it('a broken JSON line', async () => {
    const error = await fails({
      config: { data: { train: 'train.jsonl' } },
      spoil: (folder) => {
        writeFileSync(
          path.join(folder, 'train.jsonl'),
          '{"prompt":"a","completion":"b"}\n{"prompt":"a","comple\n',
        );
      },
    });
    expect(error).toMatchObject({ exit: 65, code: 'data.malformed' });
    expect(error.where).toMatch(/train\.jsonl:2$/);
  });

  it('an empty dataset', async () => {
    const error = await fails({
      spoil: (folder) => {
        writeFileSync(path.join(folder, 'train.json'), '[]');
      },
    });
    expect(error).toMatchObject({ exit: 65, code: 'data.empty' });
  });

  it('a target module that matches nothing', async () => {
    const error = await fails({ config: { adapter: { target_modules: ['query'] } } });
    expect(error).toMatchObject({ exit: 65, code: 'adapter.noTarget' });
    expect(`${error.message} ${error.next ?? ''}`).toContain('q_proj');
  });

  it('a rank beyond every full bond', async () => {
    const error = await fails({ config: { adapter: { r: 1_000_000 } } });
    expect(error).toMatchObject({ exit: 65, code: 'adapter.rank', where: 'adapter.r' });
    expect(error.next).toMatch(/Choose at most \d+/);
  });

  it('a device that is not there', async () => {
    const error = await fails({ config: { device: 'webgpu' } });
    expect(error).toMatchObject({ exit: 65, code: 'device.unavailable' });
  });

  it('weights that are not finite: stopped before they change anything, with the place', async () => {
    const weights = inModel('model.safetensors');
    const error = await fails({
      config: { training: { eval_on_start: false } },
      spoil: (folder) => {
        const bytes = readFileSync(weights(folder));
        bytes.writeFloatLE(NaN, bytes.length - 4);
        writeFileSync(weights(folder), bytes);
      },
    });
    expect(error).toMatchObject({ exit: 65, code: 'train.nonFinite' });
    expect(error.message).toMatch(
      /^Step 1: loss NaN.*first at model\.layers\.0\.self_attn\.q_proj/,
    );
  });
});
