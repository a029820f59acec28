/** What all blocks need to know about a batch: rotary tables and the attention mask. */
import { attentionSize } from '../../graph/decoder/block';
import { buildContext } from '../../graph/decoder/contextGraph';
import {
  type AttentionCut,
  attentionCut,
  MAX_SCORES_BYTES,
  maskPieces,
} from '../../graph/layers/attentionCut';
import type { DecoderConfig } from '../../models/modelConfig';
import { inverseFrequencies } from '../../models/rope';
import type { Batch } from '../engine';
import type { Device } from '../ort/device';
import type { Value, Values } from '../ort/values';
import type { SessionCache } from './sessionCache';

export interface BatchContext {
  batch: number;
  sequence: number;
  /** `[batch * sequence, 1, headDim / 2]` */
  cos: Value;
  sin: Value;
  cut: AttentionCut;
  /** By the names of their inputs. */
  masks: Values;
}

interface RotaryTables {
  positions: number;
  cos: Value;
  sin: Value;
}

/** The most that the scores of one piece of attention may take, in bytes. */
export function scoresBytes({
  kind,
  bufferBytes = Infinity,
}: {
  kind: Device['kind'];
  bufferBytes?: number | undefined;
}): number {
  return Math.min(bufferBytes, MAX_SCORES_BYTES[kind]);
}

export class BatchContexts {
  readonly #config: DecoderConfig;
  readonly #device: Device;
  readonly #sessions: SessionCache;
  /**
   * By their number of positions, a power of two; they stay on the device. One that grew with the longest
   * batch so far would make a context of each shape anew whenever it does.
   */
  readonly #tables = new Map<number, RotaryTables>();

  constructor(config: DecoderConfig, device: Device, sessions: SessionCache) {
    this.#config = config;
    this.#device = device;
    this.#sessions = sessions;
  }

  async of(batch: Batch): Promise<BatchContext> {
    const { batchSize, sequenceLength, positionIds, segmentIds } = batch;
    const { headDim, slidingWindow: window } = this.#config;
    const size = attentionSize(this.#config, { batch: batchSize, sequence: sequenceLength });
    const cut = attentionCut(size, scoresBytes(this.#device));
    const { positions, cos, sin } = await this.#tablesFor(batch);
    const session = await this.#sessions.get(
      `context ${batchSize}x${sequenceLength} ${positions}`,
      () =>
        buildContext({
          batch: batchSize,
          sequence: sequenceLength,
          headDim,
          positions,
          window,
          masks: maskPieces(size, cut, window),
        }),
    );
    const {
      cos: cosines,
      sin: sines,
      ...masks
    } = await session.run({
      position_ids: positionIds,
      segment_ids: segmentIds,
      cos_table: cos,
      sin_table: sin,
    });
    return {
      batch: batchSize,
      sequence: sequenceLength,
      cos: cosines as Value,
      sin: sines as Value,
      cut,
      masks,
    };
  }

  /** Positions of a batch are below its length, so the length alone tells which tables serve it. */
  async #tablesFor({ positionIds, sequenceLength }: Batch): Promise<RotaryTables> {
    const needed = positionIds.reduce((largest, id) => Math.max(largest, id + 1), sequenceLength);
    const positions = 2 ** Math.ceil(Math.log2(needed));
    const known = this.#tables.get(positions);
    if (known) return known;
    const { cos, sin } = rotaryTables(
      this.#config,
      Int32Array.from({ length: positions }, (_, i) => i),
    );
    const shape = [positions, this.#config.headDim / 2];
    const tables = {
      positions,
      cos: await this.#device.upload(cos, 'float32', shape),
      sin: await this.#device.upload(sin, 'float32', shape),
    };
    this.#tables.set(positions, tables);
    return tables;
  }
}

/** Cosines and sines of the positions' angles, in fp64: `[positions, 1, headDim / 2]` each. */
export function rotaryTables(
  config: DecoderConfig,
  positions: Int32Array,
): { cos: Float32Array; sin: Float32Array } {
  const frequencies = inverseFrequencies(config);
  const half = frequencies.length;
  const cos = new Float32Array(positions.length * half);
  const sin = new Float32Array(positions.length * half);
  for (let token = 0; token < positions.length; token++) {
    for (let i = 0; i < half; i++) {
      const angle = (positions[token] as number) * (frequencies[i] as number);
      cos[token * half + i] = Math.cos(angle);
      sin[token * half + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}
