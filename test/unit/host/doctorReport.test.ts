import { describe, expect, it } from 'vitest';
import { doctorReport } from '../../../src/host/doctorReport';

const cpu = { kind: 'cpu', ok: true, software: false, gflops: 80, error: 1e-7, bufferMb: 0 };
const noGpu = {
  kind: 'webgpu',
  ok: false,
  error: { code: 'device.unavailable', message: 'No GPU | <b>here</b>.', next: 'Install `it`.' },
  stderr: 'first line\n# not a heading\n```',
};
const report = {
  ok: true,
  dota: '0.1.0',
  node: '20.20.2',
  onnxruntime: '1.30.0',
  platform: 'linux-x64',
  cpu: 'AMD EPYC',
  cores: 2,
  memory_mb: 32000,
  memory_available_mb: 20900,
  checks: [
    { name: 'Node.js', ok: true, text: '20.20.2 (/usr/bin/node)' },
    { name: 'device order', ok: true, text: 'webgpu, cpu on linux-x64' },
    { name: 'device cpu', ok: true, text: '80.0 GFLOP/s, fp32 checked' },
    { name: 'device webgpu', ok: false, text: 'No GPU.' },
    { name: 'GPU', ok: true, text: 'NVIDIA H200' },
    { name: 'control socket', ok: false, text: 'not available' },
  ],
  device_order: ['webgpu', 'cpu'],
  left_out: [
    { device: 'cuda', why: 'There is no CUDA path.' },
    { device: 'webgpu', why: 'Said among the devices.' },
  ],
  devices: [cpu, noGpu],
  chosen: { kind: 'cpu', name: 'AMD EPYC', threads: 2, reason: 'No GPU here.' },
  gpus: [
    { vendor: 'nvidia', name: 'NVIDIA H200', driver: '570.1', totalMb: 143771, usedMb: 3771 },
    { vendor: 'intel', name: 'Intel GPU', totalMb: 16000, shared: true },
  ],
};

describe('the report of DoTA: Doctor', () => {
  it('says in a sentence what runs use, and why it is not the GPU', () => {
    const { summary, problem } = doctorReport(report, 'PATH');
    expect(problem).toBeUndefined();
    expect(summary).toBe('Runs use CPU (AMD EPYC, 2 threads); the GPU is not used: No GPU here.');
    const chosen = { kind: 'webgpu', name: 'WebGPU (NVIDIA H200)', threads: 2 };
    expect(doctorReport({ ...report, chosen }, 'PATH').summary).toBe(
      'Runs use WebGPU (NVIDIA H200)',
    );
  });

  it('has every device, why one is refused and what to do, memory, versions and checks', () => {
    const lines = doctorReport(report, 'PATH').markdown.split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        '### CPU: passed its check',
        '80.0 GFLOP/s, fp32 checked',
        '### GPU, through WebGPU: cannot be used',
        'What to do: Install \\`it\\`.',
        '- CUDA is not used. There is no CUDA path.',
        '| This machine | 32,000 | 20,900 |',
        '| NVIDIA H200 \\(driver 570.1\\) | 143,771 | 140,000 |',
        '| Intel GPU | 16,000 | part of the machine’s |',
        '| Node.js | 20.20.2 \\(PATH\\) |',
        '| onnxruntime | 1.30.0 |',
        '| no | control socket | not available |',
      ]),
    );
    // A device has its section, and WebGPU only one reason.
    expect(lines.filter((line) => line.startsWith('| ') && line.includes('GFLOP'))).toEqual([]);
    expect(lines.join('\n')).not.toContain('Said among');
    // The section of its check: a software adapter opens, and is refused all the same.
    const software = { ...cpu, kind: 'webgpu', software: true };
    const refused = doctorReport({ ...report, devices: [cpu, software] }, 'PATH').markdown;
    expect(refused).toContain('### GPU, through WebGPU: refused');
  });

  it('takes what drivers say as text, never as markup', () => {
    const { markdown } = doctorReport(report, 'PATH');
    expect(markdown).toContain('No GPU \\| \\<b\\>here\\</b\\>.');
    expect(markdown.split('\n')).toEqual(
      expect.arrayContaining(['    first line', '    # not a heading', '    ```']),
    );
  });

  it('is whole where nothing can be trained', () => {
    const error = {
      code: 'device.unavailable',
      message: 'No build for it.',
      next: 'Take another.',
    };
    const refused = { kind: 'cpu', ok: false, error, stderr: '' };
    const broken = { ...report, ok: false, error, devices: [refused, noGpu], chosen: null };
    const { summary, problem, markdown } = doctorReport(broken, 'PATH');
    expect(summary).toBe('Nothing can be trained here. No build for it.');
    expect(problem).toMatchObject({ next: 'Take another.' });
    expect(markdown).toContain('### CPU: cannot be used');
    expect(markdown).toContain('What to do: Take another.');
    expect(markdown).toContain('| onnxruntime | 1.30.0 |');
  });

  it.each([undefined, {}, { ...report, devices: [{}] }, { ...report, memory_mb: 'much' }])(
    'is refused where it is malformed: %j',
    (broken) => {
      expect(() => doctorReport(broken, 'PATH')).toThrow('not what was expected');
    },
  );
});
