import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { freeName } from '../../../src/commands/exportName';

it('an export has the run’s name, without what file systems refuse, and never a taken one', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dota-name-'));
  try {
    expect(await freeName(folder, '../a/b: c?', '.gguf')).toBe('a-b-c.gguf');
    expect(await freeName(folder, '日本 1', '-lora')).toBe('日本-1-lora');
    expect(await freeName(folder, '...', '-onnx')).toBe('run-onnx');
    writeFileSync(path.join(folder, 'x-f16.gguf'), '');
    expect(await freeName(folder, 'x', '-f16.gguf')).toBe('x-2-f16.gguf');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
