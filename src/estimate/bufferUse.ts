/**
 * How a model fits a GPU's largest buffer, from shapes alone: what has to lie there in one piece, and
 * what is cut.
 */
import type { AdapterOptions } from '../adapters/method';
import { selectModules } from '../adapters/targets';
import type { Method } from '../config/runConfig';
import { attentionSize, blockTensors, linearPaths, linearShape } from '../graph/decoder/block';
import { tableRows } from '../graph/decoder/headChunks';
import { headTensors } from '../graph/decoder/headGraph';
import { type AttentionCut, attentionCut, isCut } from '../graph/layers/attentionCut';
import { type Shape, sizeOf } from '../graph/shape';
import type { DecoderConfig } from '../models/modelConfig';
import { DotaError } from '../protocol/errors';
import { adapterSize } from './adapterSize';

/** Of the model, computed with as fp32. */
interface WholeTensor {
  /** A weight's path inside its block; undefined for the vector of all that trains in a block or table. */
  weight: string | undefined;
  shape: Shape;
}

const float = 4;

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** The error of a tensor of the model that cannot be cut. @param limit bytes of the largest buffer */
export function tooLargeForBuffer({ weight, shape }: WholeTensor, limit: number): DotaError {
  const all = weight === undefined;
  const what = all ? 'The vector of what is trained at once' : `The weight "${weight}"`;
  return new DotaError(
    'device.unavailable',
    `${what} ${sizeInBuffer(shape, float * sizeOf(shape), limit)}`,
    {
      next:
        (all ? 'Train an adapter instead of all weights, set ' : 'Set ') +
        '"device": "cpu", or take a GPU with larger buffers ("dota doctor" shows them).',
    },
  );
}

export function sizeInBuffer(shape: Shape, bytes: number, limit: number): string {
  return (
    `[${shape.join(', ')}] takes ${mebibytes(bytes)} as it is computed with; the largest buffer of ` +
    `this GPU has ${mebibytes(limit)}.`
  );
}

interface Trained {
  method: Method;
  adapter: AdapterOptions;
}

/**
 * Refuses a model of which a tensor that cannot be cut passes the limit, before anything is computed.
 * (What a graph makes of its inputs is checked when it is compiled.)
 * @param limit bytes of the largest buffer
 * @throws DotaError `device.unavailable`, `adapter.noTarget`, `adapter.shape`, `adapter.rank`
 */
export function checkModelBuffers(config: DecoderConfig, trained: Trained, limit: number): void {
  for (const tensors of wholeTensors(config, trained)) {
    const largest = tensors.reduce((most, next) =>
      sizeOf(next.shape) > sizeOf(most.shape) ? next : most,
    );
    if (float * sizeOf(largest.shape) > limit) throw tooLargeForBuffer(largest, limit);
  }
}

/** By the graphs that take them, in the order in which these run. */
function wholeTensors(config: DecoderConfig, { method, adapter }: Trained): WholeTensor[][] {
  const vector = (size: number): WholeTensor => ({ weight: undefined, shape: [size] });
  if (method === 'full') {
    const sum = (tensors: readonly { shape: Shape }[]): number =>
      tensors.reduce((total, { shape }) => total + sizeOf(shape), 0);
    const head = sum(headTensors(config));
    const embedding = config.tieWordEmbeddings ? head : config.vocabSize * config.hiddenSize;
    return [embedding, sum(blockTensors(config)), head].map((size) => [vector(size)]);
  }
  const targets = selectModules(config, adapter);
  return Array.from({ length: config.numLayers }, (_, layer) => {
    const own = targets.filter((module) => module.layer === layer);
    // MPOP's cores stand in place of the weight.
    const replaced = new Set(method === 'mpop' ? own.map(({ pathInBlock }) => pathInBlock) : []);
    const weights = linearPaths
      .filter((path) => !replaced.has(path))
      .map((path) => ({ weight: `${path}.weight`, shape: linearShape(config, path) }));
    const trainable = own.reduce(
      (total, module) => total + adapterSize(method, module, adapter, false).trainable,
      0,
    );
    return [...weights, vector(trainable)];
  });
}

/** What is cut so that it fits; undefined where it is whole. */
export interface BufferCuts {
  /** Rows of the embedding and the projection that lie in one buffer. */
  tableRows: number | undefined;
  attention: AttentionCut | undefined;
}

/**
 * @param bufferBytes of the largest buffer
 * @param scoresBytes the most that the scores of a piece of attention may take
 */
export function bufferCuts(
  config: DecoderConfig,
  { method }: Pick<Trained, 'method'>,
  batch: { batch: number; sequence: number },
  { bufferBytes, scoresBytes }: { bufferBytes: number; scoresBytes: number },
): BufferCuts {
  const size = attentionSize(config, batch);
  const cut = attentionCut(size, scoresBytes);
  return {
    // A table that trains lies in one piece, or is refused.
    tableRows: method === 'full' ? undefined : tableRows(config, bufferBytes),
    attention: isCut(size, cut) ? cut : undefined,
  };
}
