/**
 * All matrices of a 7B-shaped model (7 a layer), read from disk one after the other, as
 * `dota decompose` does. Takes 405 MB of disk a layer in the system's temporary folder meanwhile.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Gemm } from '../../src/core/gemm';
import { gaussian } from '../../src/core/linalg/probes';
import { decomposeModel } from '../../src/decompose/decomposeModel';
import { defaultModelDecomposeOptions } from '../../src/decompose/options';
import { f32ToBf16 } from '../../src/models/dtype';
import { openModelWeights } from '../../src/models/safetensors/modelWeights';
import { writeSafetensors } from '../../src/models/safetensors/writer';

const HIDDEN = 4096;
const INTERMEDIATE = 11008;
const kinds: readonly (readonly [string, number, number])[] = [
  ['self_attn.q_proj', HIDDEN, HIDDEN],
  ['self_attn.k_proj', HIDDEN, HIDDEN],
  ['self_attn.v_proj', HIDDEN, HIDDEN],
  ['self_attn.o_proj', HIDDEN, HIDDEN],
  ['mlp.gate_proj', INTERMEDIATE, HIDDEN],
  ['mlp.up_proj', INTERMEDIATE, HIDDEN],
  ['mlp.down_proj', HIDDEN, INTERMEDIATE],
];

/**
 * Writes the model to disk, a shard a layer. One layer's values are drawn and serve all layers: time
 * and memory do not depend on them, and every layer's bytes are read for themselves.
 */
async function writeModel(folder: string, layers: number): Promise<string[]> {
  const drawn = kinds.map(([kind, rows, cols], k) => {
    const data = new Uint16Array(rows * cols);
    for (let r = 0; r < rows; r += 64)
      data.set(f32ToBf16(gaussian(Math.min(64, rows - r) * cols, 997 * k + r + 1)), r * cols);
    return { kind, shape: [rows, cols], data };
  });
  const weight_map: Record<string, string> = {};
  for (let layer = 0; layer < layers; layer++) {
    const shard = `model-${String(layer).padStart(5, '0')}.safetensors`;
    const tensors = drawn.map(({ kind, shape, data }) => {
      const name = `model.layers.${layer}.${kind}.weight`;
      weight_map[name] = shard;
      return { name, dtype: 'BF16' as const, shape, data };
    });
    await writeSafetensors(path.join(folder, shard), tensors);
  }
  await writeFile(
    path.join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: {}, weight_map }),
  );
  return Object.keys(weight_map);
}

export async function sweep(layers: number, gemm: Gemm): Promise<object> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'dota-sweep-'));
  try {
    return await timed(folder, await writeModel(folder, layers), gemm);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function timed(folder: string, targets: readonly string[], gemm: Gemm): Promise<object> {
  const resident: number[] = [];
  const cpu = process.cpuUsage();
  const started = performance.now();
  const options = { ...defaultModelDecomposeOptions, cores: 4, rank: { r: 32 } };
  const source = await openModelWeights(folder);
  const results = await decomposeModel(source, targets, options, gemm, {
    onModule: () => resident.push(process.memoryUsage.rss() / 2 ** 20),
  });
  await source.close();
  const seconds = (performance.now() - started) / 1000;
  const used = process.cpuUsage(cpu);
  const largest = (values: readonly number[]): number => Math.round(Math.max(...values));
  return {
    matrices: results.length,
    seconds: Number(seconds.toFixed(1)),
    /** User and system time of all threads: what a busy machine's clock does not tell. */
    cpu_seconds: Number(((used.user + used.system) / 1e6).toFixed(1)),
    seconds_a_matrix: Number((seconds / targets.length).toFixed(3)),
    /** Flat memory: the largest resident size after a module, in the first and the last layer. */
    resident_mb_first_layer: largest(resident.slice(0, kinds.length)),
    resident_mb_last_layer: largest(resident.slice(-kinds.length)),
    peak_mb: Math.round(process.resourceUsage().maxRSS / 1024),
  };
}
