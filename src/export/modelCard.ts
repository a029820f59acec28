/** `README.md` of an exported model: what it is, from what, with which licence. */
import type { MergedReport } from './mergedModel';

export interface CardFacts {
  /** Name shown as title. */
  name: string;
  baseModel: string;
  /** The base model's licence id, where its card names one. */
  license: string | undefined;
  /** Program that loads the folder, as the hub names it. */
  library: 'transformers' | 'transformers.js';
  method: string;
  /** For example `r = 8, 3 cores, q_proj and v_proj`. */
  adapter: string;
  trainableParameters: number;
  parameters: number;
  dataset: string;
  steps: number;
  validationLoss: number | undefined;
  dotaVersion: string;
}

/** Markdown with the hub's front matter. */
export function modelCard(facts: CardFacts, report: MergedReport): string {
  const percent = ((100 * facts.trainableParameters) / facts.parameters).toPrecision(3);
  const rounding =
    report.worstRounding === undefined
      ? ''
      : `\nStoring the merged weights in the base model's type rounds them: at most ${(100 * report.worstRounding.loss).toPrecision(2)} % of a matrix's change was lost (\`${report.worstRounding.tensor}\`).\n`;
  const loss =
    facts.validationLoss === undefined
      ? ''
      : `| Validation loss | ${facts.validationLoss.toFixed(4)} |\n`;
  return `---
base_model: ${yamlString(facts.baseModel)}
${facts.license === undefined ? '' : `license: ${yamlString(facts.license)}\n`}library_name: ${facts.library}
pipeline_tag: text-generation
---

# ${oneLine(facts.name)}

A fine-tuned version of \`${oneLine(facts.baseModel)}\`, adapted with ${oneLine(facts.method)} and merged into the base weights by DoTA for VS Code ${oneLine(facts.dotaVersion)}.

| | |
| --- | --- |
| Method | ${cell(facts.method)} (${cell(facts.adapter)}) |
| Trained parameters | ${facts.trainableParameters} of ${facts.parameters} (${percent} %) |
| Data | ${cell(facts.dataset)} |
| Optimizer steps | ${facts.steps} |
${loss}| Changed tensors | ${report.changed} |
${rounding}
The base model's licence applies. This card states how the model was made, not what it is fit for.
`;
}

/** A JSON string is a YAML string. */
function yamlString(text: string): string {
  return JSON.stringify(text);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').replaceAll('`', '');
}

function cell(text: string): string {
  return oneLine(text).replaceAll('|', '\\|');
}
