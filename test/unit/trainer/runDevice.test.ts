/** Where a run does not fit the GPU that `auto` chose, the processor takes its place. */
import { describe, expect, it } from 'vitest';
import { DotaError } from '../../../src/protocol/errors';
import { cpu } from '../../../src/trainer/training/chooseDevice';
import type { RunEstimate } from '../../../src/trainer/training/estimateRun';
import { deviceThatFits } from '../../../src/trainer/training/runDevice';

const gpu = {
  kind: 'webgpu',
  name: 'a card',
  reason: 'It is faster.',
  bufferBytes: 2 ** 28,
} as const;
const mb = 2 ** 20;

/** An estimate of which only what is asked for here matters. */
function estimated(peakRssMb: number, availableMb: number): RunEstimate {
  const fits = 1.25 * peakRssMb <= availableMb;
  const some = { manifest: { peakRssMb }, availableBytes: availableMb * mb, fit: { fits } };
  return some as unknown as RunEstimate;
}

/** The decision where a device's estimate is this, or this error; and which were estimated. */
async function decided(
  device: 'auto' | 'webgpu',
  webgpu: RunEstimate | Error,
  processor: RunEstimate,
  chosen: ReturnType<typeof cpu> = gpu,
) {
  const asked: string[] = [];
  const result = await deviceThatFits(
    { device },
    chosen,
    ({ kind }) => {
      asked.push(kind);
      const answer = kind === 'cpu' ? processor : webgpu;
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    cpu,
  );
  return { ...result, asked };
}

describe('a run on the GPU that was chosen', () => {
  const host = estimated(900, 8000);

  it('stays there where it fits', async () => {
    const onGpu = estimated(900, 4000);
    const { device, estimate, asked } = await decided('auto', onGpu, host);
    expect(device).toBe(gpu);
    expect(estimate).toBe(onGpu);
    expect(asked).toEqual(['webgpu']);
  });

  it('goes to the processor where a tensor passes the largest buffer, unless the GPU was asked for', async () => {
    const beyond = new DotaError('device.unavailable', 'The weight "a" passes it.');
    const { device, estimate } = await decided('auto', beyond, host);
    expect(device).toMatchObject({ kind: 'cpu', reason: 'The weight "a" passes it.' });
    expect(estimate).toBe(host);
    await expect(decided('webgpu', beyond, host)).rejects.toBe(beyond);
    // Any other error has nothing to do with the device.
    const rank = new DotaError('adapter.rank', 'Too high.');
    await expect(decided('auto', rank, host)).rejects.toBe(rank);
  });

  it('goes to the processor where it fits there alone', async () => {
    const short = estimated(4000, 4096);
    const { device, estimate } = await decided('auto', short, host);
    expect(device.kind).toBe('cpu');
    expect(device.reason).toContain('4000 MB of the GPU’s memory of 4096 MB there');
    expect(estimate).toBe(host);
    expect((await decided('webgpu', short, host)).device).toBe(gpu);
    // Where it fits neither, the faster one tries.
    const neither = await decided('auto', short, estimated(9000, 8000));
    expect(neither.device).toBe(gpu);
    expect(neither.estimate).toBe(short);
  });

  it('is no matter where the processor was chosen', async () => {
    const chosen = cpu('The GPU is not faster.');
    const { device, asked } = await decided('auto', host, estimated(9000, 8000), chosen);
    expect(device).toBe(chosen);
    expect(asked).toEqual(['cpu']);
  });
});
