/** The study that the quick pick describes. No editor types. */
import type { StudyConfigInput } from '../study/studyConfig';

/** Methods on offer, by the name shown, each at the study's budget. */
export const studyMethods: Readonly<Record<string, StudyConfigInput['methods'][string]>> = {
  DoTA: { method: 'dota' },
  QDoTA: { method: 'dota', quantization: { load_in_4bit: true } },
  'Random MPO': { method: 'random_mpo' },
  'DoTA (gradient)': { method: 'dota', adapter: { init_weights: 'gradient' } },
  MPOP: { method: 'mpop' },
  LoRETTA: { method: 'loretta', adapter: { r: 8 } },
  LoRA: { method: 'lora' },
  PiSSA: { method: 'lora', adapter: { init_lora_weights: 'pissa' } },
  DoRA: { method: 'lora', adapter: { use_dora: true } },
  'Full fine-tuning': { method: 'full' },
};

/** On the sample's arithmetic task, whose files lie under `.dota/sample`. */
export function studyFromChoice(methods: readonly string[], seeds: number): StudyConfigInput {
  const file = (split: string): string => `.dota/sample/arithmetic.${split}.json`;
  return {
    name: 'Methods on the sample’s arithmetic',
    model: 'sample',
    methods: Object.fromEntries(
      methods.flatMap((name) => {
        const variant = studyMethods[name];
        return variant === undefined ? [] : [[name, variant] as const];
      }),
    ),
    tasks: {
      arithmetic: {
        train: file('train'),
        validation: file('validation'),
        test: file('test'),
        template: 'alpaca',
        max_length: 128,
      },
    },
    budgets: [20_000],
    seeds: Array.from({ length: seeds }, (_, i) => i),
    learning_rates: [0.003, 0.01, 0.03],
    training: {
      max_steps: 250,
      per_device_train_batch_size: 16,
      warmup_steps: 20,
      eval_steps: 50,
      save_total_limit: 1,
    },
    validation_rows: 100,
  };
}
