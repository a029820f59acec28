/**
 * The head where the projection is larger than the device's largest buffer and lies there in parts: the
 * streamed head's arithmetic, with everything on the device.
 */
import { frozenInput } from '../../graph/decoder/blockGraphs';
import { streamedRows } from '../../graph/decoder/headChunks';
import { buildHead } from '../../graph/decoder/headGraph';
import {
  buildStreamedEnd,
  buildStreamedPart,
  buildTakeRows,
  type StreamedStorage,
} from '../../graph/decoder/streamedHeadGraph';
import { storageSignature } from '../../graph/layers/storedWeight';
import type { DecoderConfig } from '../../models/modelConfig';
import type { Device } from '../ort/device';
import { hostArray, type Value, type Values } from '../ort/values';
import type { FrozenWeights } from './frozenWeights';
import { finalNormName } from './parameterLayout';
import type { SessionCache } from './sessionCache';
import { lookUpParts, partFeeds, type TablePart } from './slicedTable';

export interface SlicedHeadOptions {
  config: DecoderConfig;
  frozen: FrozenWeights;
  sessions: SessionCache;
  device: Device;
  parts: readonly TablePart[];
}

export class SlicedHead {
  readonly #options: SlicedHeadOptions;

  constructor(options: SlicedHeadOptions) {
    this.#options = options;
  }

  /**
   * @param hidden `[labels.length, hidden]`
   * @param labelled the rows that carry a label
   * @param gradientScale factor of the gradients; undefined computes none
   */
  async loss(
    hidden: Value,
    labelled: Int32Array,
    labels: Int32Array,
    gradientScale?: number,
  ): Promise<{ lossSum: Value; inputGradient: Value | undefined }> {
    const { config, device, sessions, parts } = this.#options;
    const tokens = labels.length;
    const columns = Math.max(...parts.map(({ rows }) => rows));
    const size = streamedRows(config, labelled.length, columns, device.bufferBytes);
    const withGradient = gradientScale !== undefined;
    let lossSum: Value = Float32Array.of(0);
    let inputGradient: Value | undefined;
    for (let start = 0; start < labelled.length; start += size) {
      const chunk = labelled.subarray(start, start + size);
      // Rows beyond the chunk repeat row 0 with weight 0.
      const rows = new Int32Array(size);
      const wanted = new Int32Array(size);
      const weights = new Float32Array(size);
      chunk.forEach((row, i) => {
        rows[i] = row;
        wanted[i] = labels[row] as number;
        weights[i] = 1;
      });
      const take = await sessions.get(`head take ${tokens} ${size}`, () =>
        buildTakeRows(config, tokens, size),
      );
      const { taken } = (await take.run({ hidden, rows })) as { taken: Value };
      const target = await lookUpParts(parts, wanted, this.#options);
      const state = await this.#through(taken, size, withGradient);
      const into = { tokens, first: inputGradient === undefined };
      const storage = this.#storage();
      const end = await sessions.get(
        `head end ${withGradient} ${into.first} ${tokens} ${size} ${signature(storage)}`,
        () =>
          buildStreamedEnd(config, { rows: size, dtype: 'float32' }, withGradient, {
            storage,
            into,
          }),
      );
      const results = await end.run({
        ...this.#norm(),
        ...state,
        hidden: taken,
        target,
        weights,
        rows,
        scale: Float32Array.of(gradientScale ?? 0),
        loss_sum: lossSum,
        ...(inputGradient && { hidden_gradient: inputGradient }),
      });
      lossSum = results['next_loss_sum'] as Value;
      await device.free([taken, target, ...Object.values(state)]);
      if (inputGradient) await device.free([inputGradient]);
      inputGradient = results['next_hidden_gradient'];
    }
    return { lossSum, inputGradient };
  }

  /** The running values after the last part. */
  async #through(hidden: Value, rows: number, withGradient: boolean): Promise<Values> {
    const { config, device, sessions, parts } = this.#options;
    let state: Values = {};
    for (const [i, part] of parts.entries()) {
      const first = i === 0;
      const storage = this.#storage(part);
      const shape = { rows, columns: part.rows, dtype: 'float32' } as const;
      const session = await sessions.get(
        `head part ${withGradient} ${first} ${rows}x${part.rows} ${signature(storage)}`,
        () => buildStreamedPart(config, shape, withGradient, { storage, first }),
      );
      const next = await session.run({ ...this.#norm(), ...partFeeds(part), ...state, hidden });
      await device.free(Object.values(state));
      state = {
        largest: next['next_largest'] as Value,
        total: next['next_total'] as Value,
        ...(withGradient && { mixed: next['next_mixed'] as Value }),
      };
    }
    return state;
  }

  /**
   * @param hidden `[tokens, hidden]`
   * @param rows the rows of `hidden` to take
   * @returns `[rows, vocab]`
   */
  async logits(hidden: Value, tokens: number, rows: Int32Array): Promise<Float32Array> {
    const { config, sessions, parts } = this.#options;
    const { hiddenSize, vocabSize } = config;
    const all = new Float32Array(rows.length * vocabSize);
    for (const part of parts) {
      const columns = part.rows;
      const { part: projection, norm } = this.#storage(part);
      const session = await sessions.get(
        `head logits ${tokens} ${rows.length}x${columns} ${signature({ part: projection, norm })}`,
        () =>
          buildHead(
            { ...config, vocabSize: columns },
            { tokens, rows: rows.length, dtype: 'float32' },
            'logits',
            [
              { name: 'projection', shape: [columns, hiddenSize], ...stored(projection) },
              { name: 'norm', shape: [hiddenSize], ...stored(norm) },
            ],
          ),
        { host: ['logits'] },
      );
      const feeds: Record<string, Value> = { ...this.#norm(), hidden, rows };
      for (const { suffix, value } of part.weight.parts) {
        feeds[frozenInput('projection') + suffix] = value;
      }
      const logits = hostArray((await session.run(feeds))['logits']) as Float32Array;
      rows.forEach((_, row) => {
        const values = logits.subarray(row * columns, (row + 1) * columns);
        all.set(values, row * vocabSize + part.from);
      });
    }
    return all;
  }

  #norm(): Values {
    return this.#options.frozen.feeds([{ name: finalNormName, input: frozenInput('norm') }]);
  }

  #storage(part?: TablePart): StreamedStorage {
    return { part: part?.weight.storage, norm: this.#options.frozen.storage(finalNormName) };
  }
}

function stored(storage: StreamedStorage['part']): { storage?: NonNullable<typeof storage> } {
  return storage ? { storage } : {};
}

function signature({ part, norm }: StreamedStorage): string {
  return [part, norm].map((storage) => (storage ? storageSignature(storage) : '')).join();
}
