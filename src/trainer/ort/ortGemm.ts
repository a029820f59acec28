/** Dense products on onnxruntime's CPU kernels, for the decomposition. */
import type { Gemm, Matrix } from '../../core/gemm';
import { Graph } from '../../graph/graph';
import type { FloatType } from '../../graph/dtype';
import { openDevice, type Session } from './device';
import { gemm } from '../../graph/ops/matmul';
import { hostArray } from './values';

type Options = Parameters<Gemm['f32']>[2];
type FloatArray = Float32Array | Float64Array;

/** Sessions are small but not free; a sweep over a model meets few shapes. */
const MAX_SESSIONS = 32;

export class OrtGemm implements Gemm {
  readonly #device;
  readonly #sessions = new Map<string, Session>();

  /** @param threads 0 lets the runtime choose */
  constructor(threads: number) {
    this.#device = openDevice({ kind: 'cpu', threads });
  }

  f32(a: Matrix<Float32Array>, b: Matrix<Float32Array>, options?: Options) {
    return this.#multiply('float32', a, b, options);
  }

  f64(a: Matrix<Float64Array>, b: Matrix<Float64Array>, options?: Options) {
    return this.#multiply('float64', a, b, options);
  }

  async #multiply<T extends FloatArray>(
    dtype: FloatType,
    a: Matrix<T>,
    b: Matrix<T>,
    options: Options = {},
  ): Promise<Matrix<T>> {
    const key = [
      dtype,
      a.rows,
      a.cols,
      b.rows,
      b.cols,
      options.transposeA,
      options.transposeB,
    ].join();
    let session = this.#sessions.get(key);
    if (!session) {
      const graph = new Graph();
      const left = graph.input('a', dtype, [a.rows, a.cols]);
      const right = graph.input('b', dtype, [b.rows, b.cols]);
      graph.output('product', gemm(left, right, options));
      session = await this.#device.compile(graph.build());
      await this.#remember(key, session);
    }
    const { product } = await session.run({ a: a.data, b: b.data });
    const [rows, cols] = (session.outputs[0]?.shape ?? []) as [number, number];
    return { data: hostArray(product) as T, rows, cols };
  }

  async #remember(key: string, session: Session): Promise<void> {
    const oldest = this.#sessions.entries().next().value;
    if (oldest && this.#sessions.size >= MAX_SESSIONS) {
      this.#sessions.delete(oldest[0]);
      await oldest[1].release();
    }
    this.#sessions.set(key, session);
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.release()));
    this.#sessions.clear();
  }
}
