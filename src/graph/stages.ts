/**
 * Cuts one graph into stages that run one after the other, so that of its large inputs only those of
 * one stage need to be in memory. The graph stays what it was; only values cross from stage to stage.
 */
import type { DType } from './dtype';
import type { GraphNode, GraphParts } from './graph';
import { RESERVED_PREFIX } from './names';
import type { ValueInfo } from './onnx';
import { sizeOf } from './shape';

export interface StageOptions {
  /** The inputs that are there only while a stage runs. */
  isLarge: (input: string) => boolean;
  /** Inputs and what is made of them alone that belong to no stage in particular. */
  isWeight: (input: string) => boolean;
  /** Inputs whose dependents keep the graph's order instead of waiting for whoever takes them. */
  isOrdered: (input: string) => boolean;
  /** Of a stage's large inputs; one that is larger has a stage of its own. */
  maxBytes: number;
}

/** Before the names of intermediate values, which an input must not have. */
const CROSSING_PREFIX = 'stage';

/** Whether an output of a stage is of use to later stages only. */
export function isCrossing(output: string): boolean {
  return output.startsWith(`${CROSSING_PREFIX}${RESERVED_PREFIX}`);
}

/** What crosses passes through the host's memory, which has arrays of these types. */
const crossingTypes: ReadonlySet<DType> = new Set(['float32', 'float64', 'int32', 'uint8']);

/**
 * @returns the stages in the order in which they run. A stage's inputs are the graph's and earlier
 *   stages' outputs; the graph's outputs keep their names.
 */
export function cutIntoStages(graph: GraphParts, options: StageOptions): GraphParts[] {
  const stageOf = assignStages(graph, options);
  const count = 1 + Math.max(0, ...stageOf.values());
  const madeIn = new Map<string, number>();
  for (const [node, stage] of stageOf) for (const name of node.outputs) madeIn.set(name, stage);
  const crossing = crossingValues(graph, stageOf, madeIn);
  const isOutput = new Set(graph.outputs.map(({ name }) => name));
  const rename = (name: string): string =>
    crossing.has(name) && !isOutput.has(name) ? CROSSING_PREFIX + name : name;

  return Array.from({ length: count }, (_, stage): GraphParts => {
    const own = graph.nodes.filter((node) => stageOf.get(node) === stage);
    const used = new Set(own.flatMap(({ inputs }) => inputs));
    const arriving = [...crossing.values()].filter(
      ({ name }) => used.has(name) && madeIn.get(name) !== stage,
    );
    const leaving = [...crossing.values()].filter(
      ({ name }) => madeIn.get(name) === stage && !isOutput.has(name),
    );
    const renamed = (info: ValueInfo): ValueInfo => ({ ...info, name: rename(info.name) });
    return {
      nodes: own.map((node) => ({
        ...node,
        inputs: node.inputs.map(rename),
        outputs: node.outputs.map(rename),
      })),
      inputs: [...graph.inputs.filter(({ name }) => used.has(name)), ...arriving.map(renamed)],
      outputs: [
        ...graph.outputs.filter(({ name }) => madeIn.get(name) === stage),
        ...leaving.map(renamed),
      ],
      initializers: graph.initializers.filter(({ name }) => used.has(name)),
    };
  });
}

/**
 * Nodes that take a large or an ordered input, or depend on one that does, follow in the graph's order and begin a new
 * stage where their inputs would be too much. All others wait for the first stage that needs them.
 */
function assignStages(
  { nodes, inputs, initializers }: GraphParts,
  { isLarge, isWeight, isOrdered, maxBytes }: StageOptions,
): Map<GraphNode, number> {
  const sizes = new Map(
    inputs.filter(({ name }) => isLarge(name)).map((info) => [info.name, 4 * sizeOf(info.shape)]),
  );
  const bytes = (names: ReadonlySet<string>): number =>
    [...names].reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
  const ofWeights = new Set([
    ...initializers.map(({ name }) => name),
    ...inputs.map(({ name }) => name).filter((name) => isWeight(name) || isLarge(name)),
  ]);
  /** The large inputs that a value of weights alone is made of. */
  const madeOf = new Map<string, ReadonlySet<string>>(
    [...sizes.keys()].map((name) => [name, new Set([name])]),
  );
  const dependent = new Set(inputs.map(({ name }) => name).filter(isOrdered));
  const stageOf = new Map<GraphNode, number>();
  let stage = 0;
  let held = new Set<string>();
  for (const node of nodes) {
    const needs = new Set(node.inputs.flatMap((name) => [...(madeOf.get(name) ?? [])]));
    if (node.inputs.every((name) => ofWeights.has(name))) {
      for (const name of node.outputs) {
        ofWeights.add(name);
        if (needs.size > 0) madeOf.set(name, needs);
      }
      continue;
    }
    if (needs.size === 0 && !node.inputs.some((name) => dependent.has(name))) continue;
    const together = new Set([...held, ...needs]);
    if (held.size > 0 && together.size > held.size && bytes(together) > maxBytes) {
      stage += 1;
      held = needs;
    } else held = together;
    stageOf.set(node, stage);
    for (const name of node.outputs) dependent.add(name);
  }
  const firstUse = new Map<string, number>();
  for (const node of nodes.toReversed()) {
    const known = stageOf.get(node);
    const own = known ?? Math.min(...node.outputs.map((name) => firstUse.get(name) ?? stage));
    stageOf.set(node, own);
    for (const name of node.inputs) {
      firstUse.set(name, Math.min(own, firstUse.get(name) ?? own));
    }
  }
  return stageOf;
}

/** Values that a later stage takes than the one that makes them. */
function crossingValues(
  { nodes }: GraphParts,
  stageOf: ReadonlyMap<GraphNode, number>,
  madeIn: ReadonlyMap<string, number>,
): Map<string, ValueInfo> {
  const crossing = new Map<string, ValueInfo>();
  for (const node of nodes) {
    const stage = stageOf.get(node) ?? 0;
    for (const [i, name] of node.inputs.entries()) {
      if ((madeIn.get(name) ?? stage) >= stage || crossing.has(name)) continue;
      const [dtype, shape] = [node.inputTypes[i], node.inputShapes[i]];
      if (dtype === undefined || shape === undefined || !crossingTypes.has(dtype)) {
        throw new Error(`"${name}" (${dtype}) cannot cross from one stage to another`);
      }
      crossing.set(name, { name, dtype, shape });
    }
  }
  return crossing;
}
