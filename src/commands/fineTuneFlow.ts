/**
 * The questions of "DoTA: Fine-tune" as a plain state machine: which steps there are, what each
 * offers, what an answer changes. No editor types, so that every path is tested without one.
 */
import type { Method } from '../config/runConfig';

export interface ModelChoice {
  /** What is written to the configuration: `sample` or an absolute folder. */
  path: string;
  name: string;
  detail: string;
}

export interface DataChoice {
  /** Absolute path, or undefined for the data set that comes with the sample model. */
  train?: string;
  name: string;
  detail: string;
}

export type Length = { epochs: number } | { steps: number };

export interface FineTuneAnswers {
  model: ModelChoice;
  data: DataChoice;
  method: Method;
  /** Module suffixes or `all-linear`. */
  targets: readonly string[] | 'all-linear';
  rank: number;
  length: Length;
  finish: 'start' | 'edit';
}

export type StepId = keyof FineTuneAnswers;

export interface Choice<Id extends StepId = StepId> {
  label: string;
  description?: string;
  detail?: string;
  /** undefined: the editor asks further (a file dialog, a number). */
  value: FineTuneAnswers[Id] | undefined;
  further?: 'modelFolder' | 'dataFile' | 'rank' | 'length' | 'targets';
}

export interface Step<Id extends StepId = StepId> {
  id: Id;
  title: string;
  /** Says what is asked, and on the last step what happens next. */
  placeholder: string;
  choices: readonly Choice<Id>[];
  /** Index of the choice that Enter takes. */
  preselected: number;
}

export interface FineTuneOffer {
  models: readonly ModelChoice[];
  data: readonly DataChoice[];
  /** Defaults of the sample's task, used when both sample model and sample data are chosen. */
  sampleEpochs: number;
}

const allModules = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];

/** Whether the number asked for is the rank of two matrices and not a bond dimension. */
export function hasRank(method: Method | undefined): boolean {
  return method === 'lora' || method === 'loretta';
}

/** Without a residual, MPOP lacks from the start what a small bond cuts off. */
function usualRank(method: Method | undefined): number {
  return method === 'mpop' ? 64 : 8;
}

/** The steps for these answers, in order; full fine-tuning has neither modules nor a rank. */
export function stepIds(answers: Partial<FineTuneAnswers>): readonly StepId[] {
  const adapter: readonly StepId[] = answers.method === 'full' ? [] : ['targets', 'rank'];
  return ['model', 'data', 'method', ...adapter, 'length', 'finish'];
}

export class FineTuneFlow {
  private readonly answers: Partial<FineTuneAnswers> = {};
  private position = 0;

  constructor(private readonly offer: FineTuneOffer) {}

  /** The step that is open, or undefined when all are answered. */
  get step(): Step | undefined {
    const id = stepIds(this.answers)[this.position];
    return id === undefined ? undefined : this.describe(id);
  }

  /** 1-based, for the title of the quick pick. */
  get number(): number {
    return this.position + 1;
  }

  get total(): number {
    return stepIds(this.answers).length;
  }

  get canGoBack(): boolean {
    return this.position > 0;
  }

  answer<Id extends StepId>(id: Id, value: FineTuneAnswers[Id]): void {
    this.answers[id] = value;
    this.position = stepIds(this.answers).indexOf(id) + 1;
  }

  /** Returns to the step before; its answer stays preselected. */
  back(): void {
    if (this.position > 0) this.position -= 1;
  }

  /** All answers, or undefined while a step is open. */
  get result(): FineTuneAnswers | undefined {
    return this.step === undefined ? this.soFar : undefined;
  }

  /** The answers with the later steps' defaults; whole once the last step is reached. */
  get soFar(): FineTuneAnswers {
    const defaults = { targets: 'all-linear', rank: usualRank(this.answers.method) } as const;
    return { ...defaults, ...this.answers } as FineTuneAnswers;
  }

  private describe(id: StepId): Step {
    switch (id) {
      case 'model':
        return this.build('model', 'Model', 'Which model is to be fine-tuned?', [
          ...this.offer.models.map((m) => ({
            label: m.name,
            ...(m.path === 'sample' ? { description: 'comes with the extension' } : {}),
            detail: m.detail,
            value: m,
          })),
          {
            label: '$(folder-opened) Browse…',
            detail: 'A folder in Hugging Face layout',
            value: undefined,
            further: 'modelFolder',
          },
        ]);
      case 'data':
        return this.build('data', 'Data', 'What is it to learn from?', [
          ...this.offer.data.map((d) => ({ label: d.name, detail: d.detail, value: d })),
          {
            label: '$(file) Browse…',
            detail: 'JSON, JSONL, CSV, Parquet or text',
            value: undefined,
            further: 'dataFile',
          },
        ]);
      case 'method':
        return this.build('method', 'Method', 'How are the weights adapted?', [
          {
            label: 'DoTA',
            description: 'recommended',
            detail: 'Cores start from the matrix product operator of the pretrained weight',
            value: 'dota',
          },
          {
            label: 'Random cores',
            detail: 'The same chain of cores from a random start',
            value: 'random_mpo',
          },
          {
            label: 'MPOP',
            detail: 'The truncated operator alone: compresses, but starts from a changed model',
            value: 'mpop',
          },
          { label: 'LoRA', detail: 'Two low-rank matrices a module', value: 'lora' },
          {
            label: 'LoRETTA',
            detail: 'LoRA whose two matrices are tensor trains; the fewest parameters',
            value: 'loretta',
          },
          { label: 'Full', detail: 'All weights train; needs the most memory', value: 'full' },
        ]);
      case 'targets':
        return this.build('targets', 'Modules', 'Which modules get an adapter?', [
          {
            label: 'All linear modules',
            description: 'recommended',
            detail: allModules.join(', '),
            value: allModules,
          },
          {
            label: 'Attention only',
            detail: allModules.slice(0, 4).join(', '),
            value: allModules.slice(0, 4),
          },
          { label: 'Query and value', detail: 'q_proj, v_proj', value: ['q_proj', 'v_proj'] },
          {
            label: '$(edit) Choose…',
            detail: 'Any combination',
            value: undefined,
            further: 'targets',
          },
        ]);
      case 'rank': {
        const what = hasRank(this.answers.method) ? 'Rank' : 'Largest bond dimension';
        const usual = usualRank(this.answers.method);
        const ranks = [2, 4, 8, 16, 32, 64].map((rank) => ({
          label: String(rank),
          ...(rank === usual ? { description: 'default' } : {}),
          value: rank,
        }));
        const cost =
          this.answers.method === 'mpop'
            ? 'what is cut off here, the model lacks from the start'
            : 'more fits more, and costs more memory and time';
        return this.build(
          'rank',
          what,
          `${what}: ${cost}`,
          [...ranks, { label: '$(edit) Another number…', value: undefined, further: 'rank' }],
          ranks.findIndex((rank) => rank.value === usual),
        );
      }
      case 'length':
        return this.build('length', 'Length', 'How long does it train?', this.lengths());
      case 'finish':
        return this.build('finish', 'Ready', 'The answers are written to a *.dota.json', [
          {
            label: '$(play) Start now',
            detail: 'Writes the configuration, starts the run and opens its metrics',
            value: 'start',
          },
          {
            label: '$(edit) Look at it first',
            detail: 'Writes and opens the configuration; it runs from its title bar',
            value: 'edit',
          },
        ]);
    }
  }

  private lengths(): Choice<'length'>[] {
    const sample = this.answers.model?.path === 'sample' && this.answers.data?.train === undefined;
    const epochs = sample ? this.offer.sampleEpochs : 3;
    const other = [1, 3, 5].filter((n) => n !== epochs);
    return [
      {
        label: epochs === 1 ? '1 epoch' : `${epochs} epochs`,
        description: sample ? 'what the sample’s task takes' : 'default',
        value: { epochs },
      },
      ...other.map((n) => ({ label: n === 1 ? '1 epoch' : `${n} epochs`, value: { epochs: n } })),
      { label: '20 steps', description: 'a quick look whether it runs', value: { steps: 20 } },
      { label: '$(edit) Another number of steps…', value: undefined, further: 'length' },
    ];
  }

  private build<Id extends StepId>(
    id: Id,
    title: string,
    placeholder: string,
    choices: readonly Choice<Id>[],
    preselected = 0,
  ): Step<Id> {
    const answered = JSON.stringify(this.answers[id]);
    const before = choices.findIndex(
      (c) => c.value !== undefined && JSON.stringify(c.value) === answered,
    );
    return { id, title, placeholder, choices, preselected: before === -1 ? preselected : before };
  }
}
