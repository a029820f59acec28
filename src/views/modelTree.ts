/**
 * The Model view as data: model, layers, modules, and under a decomposed module its MPO, core by core
 * and bond by bond. No editor types; `modelView.ts` turns nodes into tree items.
 */
import type { BondSummary, ModuleDecomposition } from '../protocol/decomposition';
import { countLayers, formatCount, formatPercent, formatShape, formatShort } from './format';

export interface TensorInfo {
  /** Checkpoint name, e.g. `model.layers.0.self_attn.q_proj.weight`. */
  name: string;
  shape: readonly number[];
  dtype: string;
}

export interface ModelEntry {
  /** `sample` or the absolute folder: what a configuration names. */
  path: string;
  /** Absolute folder on disk. */
  folder: string;
  name: string;
  /** Listed by the user, so that it can be taken off the list. */
  removable: boolean;
  architecture?: string;
  numLayers?: number;
  hiddenSize?: number;
  intermediateSize?: number;
  vocabSize?: number;
  /** Bytes of all weights as stored. */
  weightBytes?: number;
  tensors?: readonly TensorInfo[];
  /** By the model card. */
  license?: string;
  /** In words, e.g. `128,256 tokens, with a chat template`. */
  tokenizer?: string;
  /** Why the model cannot be used. */
  problem?: string;
  /** Results by module path. */
  decompositions: ReadonlyMap<string, ModuleDecomposition>;
}

export interface LayerNode {
  kind: 'layer';
  model: ModelEntry;
  /** Layer index; undefined for what lies outside of the layers. */
  layer: number | undefined;
  modules: readonly TensorInfo[];
}

export type ModelNode =
  | { kind: 'model'; model: ModelEntry }
  | { kind: 'problem'; model: ModelEntry; text: string }
  | LayerNode
  | { kind: 'module'; model: ModelEntry; module: string; tensor: TensorInfo }
  | { kind: 'mpo'; model: ModelEntry; result: ModuleDecomposition }
  | { kind: 'core'; model: ModelEntry; result: ModuleDecomposition; index: number }
  | { kind: 'bond'; model: ModelEntry; result: ModuleDecomposition; index: number };

/** Module path of a weight: its name without the trailing `.weight`. */
export function moduleOf(tensor: string): string {
  return tensor.replace(/\.weight$/, '');
}

/** Linear layers have a decomposition; the embedding is a matrix too but no linear map of activations. */
export function canDecompose(tensor: TensorInfo): boolean {
  return (
    tensor.shape.length === 2 &&
    tensor.name.endsWith('.weight') &&
    !tensor.name.includes('embed_tokens')
  );
}

export function layerOf(tensor: string): number | undefined {
  const match = /(?:^|\.)layers\.(\d+)\./.exec(tensor);
  return match === null ? undefined : Number(match[1]);
}

export function countParameters(tensors: readonly TensorInfo[]): number {
  return tensors.reduce((sum, t) => sum + t.shape.reduce((a, b) => a * b, 1), 0);
}

export function childrenOf(node: ModelNode): ModelNode[] {
  switch (node.kind) {
    case 'model':
      return node.model.problem !== undefined
        ? [{ kind: 'problem', model: node.model, text: node.model.problem }]
        : layersOf(node.model);
    case 'layer':
      return node.modules.map((tensor) => ({
        kind: 'module',
        model: node.model,
        module: moduleOf(tensor.name),
        tensor,
      }));
    case 'module': {
      const result = node.model.decompositions.get(node.module);
      return result === undefined ? [] : [{ kind: 'mpo', model: node.model, result }];
    }
    case 'mpo':
      // As the chain is drawn: core, bond, core, bond, core.
      return node.result.cores.flatMap((_, index): ModelNode[] => {
        const { model, result } = node;
        const core: ModelNode = { kind: 'core', model, result, index };
        return index < result.bonds.length
          ? [core, { kind: 'bond', model, result, index }]
          : [core];
      });
    case 'problem':
    case 'core':
    case 'bond':
      return [];
  }
}

function layersOf(model: ModelEntry): LayerNode[] {
  const groups = new Map<number | undefined, TensorInfo[]>();
  for (const tensor of inModelOrder(model.tensors ?? [])) {
    const layer = layerOf(tensor.name);
    const group = groups.get(layer);
    if (group === undefined) groups.set(layer, [tensor]);
    else group.push(tensor);
  }
  return [...groups].map(([layer, modules]) => ({ kind: 'layer', model, layer, modules }));
}

/** As the data passes through a layer; a file has them by name. */
const modulesInOrder = [
  'input_layernorm',
  ...['q_proj', 'k_proj', 'v_proj', 'q_norm', 'k_norm', 'o_proj'],
  'post_attention_layernorm',
  ...['gate_proj', 'up_proj', 'down_proj'],
];

/** Layer by layer, by number, what lies outside of them last. */
export function inModelOrder(tensors: readonly TensorInfo[]): TensorInfo[] {
  const place = ({ name }: TensorInfo): [number, number] => {
    const at = modulesInOrder.findIndex((module) => name.includes(`.${module}.`));
    return [layerOf(name) ?? Number.MAX_SAFE_INTEGER, at === -1 ? modulesInOrder.length : at];
  };
  return tensors
    .map((tensor) => ({ tensor, at: place(tensor) }))
    .sort((a, b) => a.at[0] - b.at[0] || a.at[1] - b.at[1])
    .map(({ tensor }) => tensor);
}

export interface NodeText {
  label: string;
  /** The quiet second text. */
  description: string;
  /** Plain sentences for a screen reader. */
  spoken: string;
  /** Flags that menus look for. */
  context: string;
  icon: string;
  collapsible: boolean;
  /** Stable across refreshes, so that selection and expansion survive. */
  id: string;
}

export function textOf(node: ModelNode): NodeText {
  const { model } = node;
  switch (node.kind) {
    case 'model': {
      const size = formatShort(countParameters(model.tensors ?? []));
      const description =
        model.problem === undefined
          ? `${model.architecture ?? ''} · ${layerCount(model)} · ${size}`
          : 'cannot be used';
      return {
        label: model.name,
        description,
        spoken:
          model.problem === undefined
            ? `Model ${model.name}, ${description.replaceAll(' ·', ',')} parameters`
            : `Model ${model.name}, ${description}`,
        context: `model${model.removable ? ' removable' : ''}${model.problem === undefined ? '' : ' broken'}`,
        icon: model.problem === undefined ? 'package' : 'warning',
        collapsible: true,
        id: model.folder,
      };
    }
    case 'problem':
      return {
        label: node.text,
        description: '',
        spoken: node.text,
        context: 'problem',
        icon: 'error',
        collapsible: false,
        id: `${model.folder}|problem`,
      };
    case 'layer': {
      const label = node.layer === undefined ? 'Outside of the layers' : `Layer ${node.layer}`;
      const done = node.modules.filter((t) => model.decompositions.has(moduleOf(t.name))).length;
      const size = formatShort(countParameters(node.modules));
      const decomposed = done === 0 ? [] : [`${done} decomposed`];
      return {
        label,
        description: [size, ...decomposed].join(' · '),
        spoken: [label, `${size} parameters`, ...decomposed].join(', '),
        context: node.modules.some(canDecompose) ? 'layer canDecompose' : 'layer',
        icon: 'layers',
        collapsible: true,
        id: `${model.folder}|layer|${node.layer ?? 'other'}`,
      };
    }
    case 'module': {
      const { tensor } = node;
      const label =
        layerOf(tensor.name) === undefined
          ? node.module
          : node.module.replace(/^.*?layers\.\d+\./, '');
      const count = formatShort(countParameters([tensor]));
      const result = model.decompositions.get(node.module);
      // First, because a narrow side bar cuts the end.
      const kept = result === undefined ? '' : `kept ${formatPercent(result.keptEnergy)} · `;
      const description = `${kept}${formatShape(tensor.shape)} · ${tensor.dtype} · ${count}`;
      return {
        label,
        description,
        spoken: `${label}, ${tensor.shape.join(' by ')}, ${tensor.dtype}, ${count} parameters${
          result === undefined ? '' : `, kept ${formatPercent(result.keptEnergy)}`
        }`,
        context: canDecompose(tensor) ? 'module canDecompose' : 'module',
        icon: tensor.shape.length === 2 ? 'symbol-array' : 'symbol-numeric',
        collapsible: result !== undefined,
        id: `${model.folder}|${tensor.name}`,
      };
    }
    case 'mpo': {
      const { result } = node;
      const description =
        `kept ${formatPercent(result.keptEnergy)} · error ${formatPercent(result.relativeError)} · ` +
        `${formatShort(result.parameters)} parameters · ${compression(result)}`;
      const label = `MPO of ${result.cores.length} cores`;
      return {
        label,
        description,
        spoken: `${label}, ${description.replaceAll(' ·', ',')}`,
        context: 'mpo',
        icon: 'type-hierarchy',
        collapsible: true,
        id: `${model.folder}|${result.module}|mpo`,
      };
    }
    case 'core': {
      const core = node.result.cores[node.index] ?? [0, 0, 0, 0];
      const description = `${formatShape(core)} · ${formatShort(core.reduce((a, b) => a * b, 1))}`;
      return {
        label: `Core ${node.index + 1}`,
        description,
        spoken: `Core ${node.index + 1}, ${core.join(' by ')}`,
        context: 'core',
        icon: 'circle-filled',
        collapsible: false,
        id: `${model.folder}|${node.result.module}|core${node.index}`,
      };
    }
    case 'bond': {
      const bond = node.result.bonds[node.index];
      return {
        label: `Bond ${node.index + 1}`,
        description: bond === undefined ? '' : bondText(bond),
        spoken:
          bond === undefined
            ? ''
            : `Bond ${node.index + 1}, dimension ${bond.dimension} of ${bond.fullDimension}`,
        context: 'bond',
        icon: 'link',
        collapsible: false,
        id: `${model.folder}|${node.result.module}|bond${node.index}`,
      };
    }
  }
}

function layerCount(model: ModelEntry): string {
  return countLayers(model.numLayers ?? 0);
}

export function bondText(bond: BondSummary): string {
  return `${bond.dimension} of ${bond.fullDimension}`;
}

/** Entries of the matrix over entries of the cores. */
export function compression(result: ModuleDecomposition): string {
  const ratio = (result.rows * result.cols) / result.parameters;
  return `${ratio >= 9.95 ? Math.round(ratio) : ratio.toFixed(1)}× smaller`;
}

/** Lines of the tooltip, in Markdown-free text: name and value. */
export function detailsOf(node: ModelNode): [string, string][] {
  switch (node.kind) {
    case 'model':
      return [['Folder', node.model.folder], ...modelDetails(node.model)];
    case 'module':
      return [
        ['Module', node.module],
        ['Shape (out × in)', formatShape(node.tensor.shape)],
        ['Stored as', node.tensor.dtype],
        ['Parameters', formatCount(countParameters([node.tensor]))],
      ];
    case 'mpo': {
      const { result } = node;
      return [
        ['Module', result.module],
        ['Row factors', formatShape(result.rowFactors)],
        ['Column factors', formatShape(result.colFactors)],
        ['Kept energy', formatPercent(result.keptEnergy)],
        ['Truncation error ‖W − MPO‖ / ‖W‖', formatPercent(result.relativeError)],
        [
          'Parameters',
          `${formatCount(result.parameters)} of ${formatCount(result.rows * result.cols)}`,
        ],
      ];
    }
    case 'core':
      return [
        ['Left bond × row × column × right bond', formatShape(node.result.cores[node.index] ?? [])],
      ];
    case 'bond': {
      const bond = node.result.bonds[node.index];
      if (bond === undefined) return [];
      return [
        ['Dimension', String(bond.dimension)],
        ['Full dimension', String(bond.fullDimension)],
        ['Discarded energy', formatPercent(bond.discardedEnergy / node.result.energy)],
      ];
    }
    case 'layer':
    case 'problem':
      return [];
  }
}

function modelDetails(model: ModelEntry): [string, string][] {
  const types = [...new Set((model.tensors ?? []).map(({ dtype }) => dtype))];
  const details: [string, string | undefined][] = [
    ['Architecture', model.architecture],
    ['Parameters', formatCount(countParameters(model.tensors ?? []))],
    ['Stored as', types.length === 0 ? undefined : types.join(', ')],
    ['Tokenizer', model.tokenizer],
    [
      'Licence (model card)',
      model.problem === undefined ? (model.license ?? 'not stated') : undefined,
    ],
  ];
  return details.filter((detail): detail is [string, string] => detail[1] !== undefined);
}

/** The modules that a command on this node decomposes, as full paths. */
export function modulesToDecompose(node: ModelNode): string[] {
  switch (node.kind) {
    case 'model':
      return inModelOrder(node.model.tensors ?? [])
        .filter(canDecompose)
        .map((t) => moduleOf(t.name));
    case 'layer':
      return node.modules.filter(canDecompose).map((t) => moduleOf(t.name));
    case 'module':
      return canDecompose(node.tensor) ? [node.module] : [];
    case 'mpo':
    case 'core':
    case 'bond':
      return [node.result.module];
    case 'problem':
      return [];
  }
}
