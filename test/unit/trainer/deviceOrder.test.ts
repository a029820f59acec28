/** The order of devices on every platform, and what is said where there is none. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { deviceOrder } from '../../../src/trainer/training/deviceOrder';
import { runtimeFolder, runtimeProblem } from '../../../src/trainer/training/runtimeBinary';

const platforms = [
  ['linux', 'x64', ['webgpu', 'cpu'], ['cuda']],
  ['linux', 'arm64', ['cpu'], ['webgpu', 'cuda']],
  ['win32', 'x64', ['webgpu', 'cpu'], ['dml', 'cuda']],
  ['win32', 'arm64', ['webgpu', 'cpu'], ['dml']],
  ['darwin', 'arm64', ['webgpu', 'cpu'], ['coreml']],
  ['darwin', 'x64', [], ['cpu', 'webgpu']],
  ['linux', 'ia32', [], ['cpu', 'webgpu']],
  ['freebsd', 'x64', [], ['cpu', 'webgpu']],
] as const;

describe('the order of devices', () => {
  it.each(platforms)('on %s %s is %j, and says why not %j', (platform, arch, order, left) => {
    const found = deviceOrder(platform, arch);
    expect(found.platform).toBe(`${platform}-${arch}`);
    expect(found.order).toEqual(order);
    expect(found.leftOut.map(({ device }) => device)).toEqual(left);
    for (const { why } of found.leftOut) expect(why).toMatch(/^[A-Z“o].{20,}\.$/s);
  });

  it('is that of the binaries which the installed package ships', () => {
    const binaries = path.join(runtimeFolder() ?? '', 'bin', 'napi-v6');
    for (const [platform, arch, order] of platforms) {
      const folder = path.join(binaries, platform, arch);
      const files = listing(folder);
      expect(files.length > 0, `${platform}-${arch} is shipped`).toBe(order.length > 0);
      const library = files.find((name) => /^(lib)?onnxruntime\.(dll|.*dylib|so.*)$/.test(name));
      if (library === undefined) continue;
      // The message that only a build with the provider has.
      const webgpu = readFileSync(path.join(folder, library)).includes(
        'Failed to get a WebGPU adapter',
      );
      expect(webgpu, `${platform}-${arch} has the GPU provider`).toBe(
        (order as readonly string[]).includes('webgpu'),
      );
    }
  });
});

function listing(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

describe('a runtime’s binary', () => {
  let place: string;
  beforeEach(() => {
    place = mkdtempSync(path.join(tmpdir(), 'dota-binary-'));
  });
  afterEach(() => {
    rmSync(place, { recursive: true, force: true });
  });

  it('is there for this process', () => {
    expect(runtimeProblem()).toBeUndefined();
  });

  it('is missing on Intel Macs whatever is installed, with the way out for Node.js under Rosetta', () => {
    const problem = runtimeProblem({ platform: 'darwin', arch: 'x64' });
    expect(problem).toMatchObject({ code: 'device.unavailable' });
    expect(problem?.message).toContain('no build for Intel Macs (darwin-x64)');
    expect(problem?.next).toContain('a Node.js that is built for arm64');
  });

  it('is missing where the package is another platform’s, which is named', () => {
    mkdirSync(path.join(place, 'bin', 'napi-v6', 'win32', 'arm64'), { recursive: true });
    const problem = runtimeProblem({ platform: 'win32', arch: 'x64' }, place);
    expect(problem?.message).toContain('built for win32-x64');
    expect(problem?.next).toContain('built for win32-arm64');
    expect(runtimeProblem({ platform: 'win32', arch: 'arm64' }, place)).toBeUndefined();
  });
});
