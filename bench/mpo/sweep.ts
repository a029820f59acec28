/** All matrices of a 7B-shaped model (7 a layer), one after the other, as `dota decompose` does. */
import type { Gemm } from '../../src/core/gemm';
import { gaussian } from '../../src/core/linalg/probes';
import { decomposeModel } from '../../src/decompose/decomposeModel';
import { defaultModelDecomposeOptions } from '../../src/decompose/options';
import { f32ToBf16 } from '../../src/models/dtype';
import type { RawTensor, WeightSource } from '../../src/models/modelConfig';

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

/** One bf16 tensor a shape, made beforehand; layers share it, as only time and memory are measured. */
function model(layers: number): { source: WeightSource; targets: string[] } {
  const byShape = new Map<string, RawTensor>();
  for (const [, rows, cols] of kinds) {
    const key = `${rows}x${cols}`;
    if (byShape.has(key)) continue;
    const data = new Uint16Array(rows * cols);
    for (let r = 0; r < rows; r += 64) data.set(f32ToBf16(gaussian(64 * cols, r + 1)), r * cols);
    byShape.set(key, { dtype: 'BF16', shape: [rows, cols], data });
  }
  const byName = new Map<string, RawTensor>();
  for (let layer = 0; layer < layers; layer++)
    for (const [kind, rows, cols] of kinds)
      byName.set(`model.layers.${layer}.${kind}.weight`, byShape.get(`${rows}x${cols}`)!);
  const source: WeightSource = {
    names: [...byName.keys()],
    info: (name) => byName.get(name),
    read: (name) => {
      const raw = byName.get(name)!;
      return Promise.resolve(raw);
    },
    close: () => Promise.resolve(),
  };
  return { source, targets: [...byName.keys()] };
}

export async function sweep(layers: number, gemm: Gemm): Promise<object> {
  const { source, targets } = model(layers);
  const peaks: number[] = [];
  const cpu = process.cpuUsage();
  const started = performance.now();
  const options = { ...defaultModelDecomposeOptions, cores: 4, rank: { r: 32 } };
  await decomposeModel(source, targets, options, gemm, {
    onModule: () => peaks.push(process.resourceUsage().maxRSS / 1024),
  });
  const seconds = (performance.now() - started) / 1000;
  const used = process.cpuUsage(cpu);
  return {
    matrices: targets.length,
    seconds: Number(seconds.toFixed(1)),
    /** User and system time of all threads: what a busy machine's clock does not tell. */
    cpu_seconds: Number(((used.user + used.system) / 1e6).toFixed(1)),
    seconds_a_matrix: Number((seconds / targets.length).toFixed(3)),
    /** Flat memory: after the first layer's seven matrices, and at the end. */
    peak_mb_first_layer: Math.round(peaks[kinds.length - 1] ?? 0),
    peak_mb: Math.round(peaks.at(-1) ?? 0),
  };
}
