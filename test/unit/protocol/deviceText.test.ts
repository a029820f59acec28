import { expect, it } from 'vitest';
import { deviceLine, deviceText, megabytesText } from '../../../src/protocol/deviceText';

it('names a device, and why it is not the GPU', () => {
  const cpu = { kind: 'cpu', name: 'AMD EPYC', threads: 2 } as const;
  expect(deviceLine(cpu)).toBe('CPU (AMD EPYC, 2 threads)');
  expect(deviceLine({ ...cpu, threads: 1, reason: 'It did not answer within 60 s.' })).toBe(
    'CPU (AMD EPYC, 1 thread); the GPU is not used: It did not answer within 60 s.',
  );
  // A processor without a name, and what older versions wrote.
  expect(deviceText({ ...cpu, name: 'CPU' })).toBe('CPU (2 threads)');
  expect(deviceText({ kind: 'cpu', name: 'CPU', threads: 0 })).toBe('CPU');
  const gpu = { kind: 'webgpu', name: 'WebGPU (NVIDIA H200)', threads: 16 } as const;
  expect(deviceLine(gpu)).toBe('WebGPU (NVIDIA H200)');
});

it('tells a little memory from none', () => {
  const texts = [0, 0.2, 4.44, 9.94, 9.95, 724.3].map(megabytesText);
  expect(texts).toEqual(['0 MB', '0.2 MB', '4.4 MB', '9.9 MB', '10 MB', '724 MB']);
});
