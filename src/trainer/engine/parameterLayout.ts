/**
 * Where every trainable tensor lies in the flat parameter vector. The vector is a sequence of
 * groups, one for each graph that owns parameters, so that a graph takes a contiguous view.
 */
import type { AdapterPlan } from '../../adapters/adapter';
import { type BlockTensorShape, blockTensors, linearPaths } from '../../graph/decoder/block';
import { headTensors } from '../../graph/decoder/headGraph';
import { sizeOf } from '../../graph/shape';
import type { DecoderConfig } from '../../models/modelConfig';
import type { TrainableTensor } from '../engine';

export interface ParameterGroup {
  offset: number;
  size: number;
  tensors: readonly TrainableTensor[];
}

export interface ParameterLayout {
  size: number;
  tensors: readonly TrainableTensor[];
  /** Present when the embedding trains and isn't tied to the head. */
  embedding: ParameterGroup | undefined;
  /** One a layer; empty where nothing in the layer trains. */
  blocks: readonly ParameterGroup[];
  /** Present when the head trains; its first tensor is the tied embedding where it is tied. */
  head: ParameterGroup | undefined;
}

export const embeddingName = 'model.embed_tokens.weight';
export const finalNormName = 'model.norm.weight';
export const layerPrefix = (layer: number): string => `model.layers.${layer}.`;

/** Name of the head's projection, which is the embedding's where they are tied. */
export function projectionName(config: DecoderConfig): string {
  return config.tieWordEmbeddings ? embeddingName : 'lm_head.weight';
}

/** Full name of one of `headTensors`. */
export function headTensorName(config: DecoderConfig, name: string): string {
  return name === 'norm' ? finalNormName : projectionName(config);
}

interface Declared extends BlockTensorShape {
  learningRateFactor: number;
}

export function planParameters(config: DecoderConfig, plan: AdapterPlan): ParameterLayout {
  let offset = 0;
  const group = (declared: readonly Declared[]): ParameterGroup => {
    const start = offset;
    const tensors = declared.map(({ name, shape, learningRateFactor }) => {
      const tensor: TrainableTensor = {
        name,
        shape,
        offset,
        size: sizeOf(shape),
        // Hugging Face's rule: norms and biases, the only vectors of the model, don't decay.
        weightDecay: shape.length > 1,
        learningRateFactor,
      };
      offset += tensor.size;
      return tensor;
    });
    return { offset: start, size: offset - start, tensors };
  };
  const base = (tensors: readonly BlockTensorShape[]): Declared[] =>
    tensors.map((tensor) => ({ ...tensor, learningRateFactor: 1 }));

  const trainsAll = plan.trainsBaseWeights;
  const embedding =
    trainsAll && !config.tieWordEmbeddings
      ? group(base([{ name: embeddingName, shape: [config.vocabSize, config.hiddenSize] }]))
      : undefined;
  const blocks = Array.from({ length: config.numLayers }, (_, layer) => {
    const prefix = layerPrefix(layer);
    const own = trainsAll ? base(blockTensors(config)) : adapterTensors(plan, prefix);
    return group(own.map((tensor) => ({ ...tensor, name: prefix + tensor.name })));
  });
  const head = trainsAll
    ? group(
        base(headTensors(config)).map((tensor) => ({
          ...tensor,
          name: headTensorName(config, tensor.name),
        })),
      )
    : undefined;
  const tensors = [embedding, ...blocks, head].flatMap((part) => part?.tensors ?? []);
  return { size: offset, tensors, embedding, blocks, head };
}

/** The trainable adapter tensors of one block, named by their path inside it. */
function adapterTensors(plan: AdapterPlan, prefix: string): Declared[] {
  return linearPaths.flatMap((path) => {
    const adapter = plan.modules.get(prefix + path);
    const trainable = adapter?.tensors.filter((tensor) => tensor.trainable) ?? [];
    return trainable.map(({ name, shape, learningRateFactor }) => ({
      name: `${path}.${name}`,
      shape,
      learningRateFactor,
    }));
  });
}
