import { describe, expect, it } from 'vitest';
import { doctorReport } from '../../../src/host/doctorReport';

describe('the report of DoTA: Doctor', () => {
  it('has a line a check, the refused ones marked', () => {
    const checks = [
      { name: 'device order', ok: true, text: 'webgpu, cpu on darwin-arm64' },
      { name: 'device coreml', ok: false, text: 'not used: Core ML compiles models.' },
    ];
    expect(doctorReport({ ok: true, checks })).toEqual([
      'ok  device order: webgpu, cpu on darwin-arm64',
      'no  device coreml: not used: Core ML compiles models.',
    ]);
  });

  it('says nothing of what is no report', () => {
    expect(doctorReport(undefined)).toEqual([]);
    expect(doctorReport({ checks: [{ name: 1 }, null] })).toEqual([]);
  });
});
