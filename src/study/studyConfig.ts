/**
 * A study (`*.dota-study.json`): methods x tasks x ranks x seeds from one file. Every method gets the
 * same learning rates to choose from, on the validation split; the schema has no other way.
 */
import * as z from 'zod';
import { runConfigSchema } from '../config/runConfig';

const positiveInt = z.int().min(1);
const { adapter, quantization, data, training, method } = runConfigSchema.shape;

/**
 * A section of which only some keys are given: zod's own `partial` would fill in the defaults, and a
 * change of one key would reset all others.
 */
function patchOf<T extends z.ZodRawShape>(section: z.ZodObject<T>) {
  const fields = Object.entries(section.shape as unknown as Record<string, z.ZodType>).map(
    ([key, field]) => {
      const inner = field instanceof z.ZodDefault ? (field.unwrap() as z.ZodType) : field;
      const { description } = field;
      return [key, (description === undefined ? inner : inner.describe(description)).optional()];
    },
  );
  const shape = Object.fromEntries(fields) as {
    [K in keyof T]: z.ZodType<z.output<T[K]> | undefined>;
  };
  return z.strictObject(shape) as unknown as z.ZodType<Partial<z.output<z.ZodObject<T>>>>;
}

const adapterPatch = patchOf(adapter.unwrap());
const quantizationPatch = patchOf(quantization.unwrap());
const trainingPatch = patchOf(training.unwrap().omit({ seed: true, learning_rate: true }));

const variantSchema = z
  .strictObject({
    method: method.unwrap(),
    adapter: adapterPatch.optional(),
    quantization: quantizationPatch.optional(),
  })
  .describe('The method and its options; r is set from budgets or ranks where those are given.');

const ablationSchema = z
  .strictObject({
    name: z.string().min(1).describe('What is varied, e.g. "number of cores".'),
    method: z.string().min(1).describe('The method (a key of methods) that is varied.'),
    task: z.string().min(1).optional().describe('A key of tasks; the first when absent.'),
    seeds: z.array(z.int().min(0)).min(1).optional().describe('Seeds; those of the study else.'),
    variants: z
      .record(
        z.string().min(1),
        z.strictObject({
          adapter: adapterPatch.optional(),
          quantization: quantizationPatch.optional(),
          training: trainingPatch.optional(),
          model: z.string().min(1).optional().describe('Another base model.'),
          match_budget: z
            .boolean()
            .default(false)
            .describe('Choose r again, so that the variant keeps the first budget.'),
        }),
      )
      .describe('What each variant changes of the method.'),
  })
  .describe('One-factor variations at the learning rate that the method was given by the sweep.');

const claimSchema = z
  .strictObject({
    claim: z.string().min(1).describe('The claim in words.'),
    lower: z.string().min(1).describe('Method whose validation loss is claimed to be lower.'),
    higher: z.string().min(1).describe('Method whose validation loss is claimed to be higher.'),
    within: z
      .number()
      .positive()
      .optional()
      .describe('Claims equality instead: the interval of the difference lies within +- this.'),
  })
  .describe('A claim that the report decides with an interval, for each task.');

export const studyConfigSchema = z
  .strictObject({
    $schema: z.string().optional(),
    name: z.string().min(1).max(120).describe('Title of the report.'),
    model: runConfigSchema.shape.model,
    methods: z
      .record(z.string().min(1).max(60), variantSchema)
      .describe('What is compared, by the name shown.'),
    tasks: z
      .record(
        z.string().min(1).max(60),
        data
          .partial({ validation: true })
          .required({ validation: true })
          .extend({
            training: trainingPatch
              .optional()
              .describe('What runs on this task change of the shared training, e.g. more steps.'),
          }),
      )
      .describe(
        'Data of each task. validation is required; test is touched once by each main run, when all rates are chosen.',
      ),
    budgets: z
      .array(positiveInt)
      .min(1)
      .optional()
      .describe('Trainable parameters: each method takes the rank nearest to each budget.'),
    ranks: z.array(positiveInt).min(1).optional().describe('Ranks r, where no budgets are given.'),
    seeds: z.array(z.int().min(0)).min(1).describe('Every method runs with each of them.'),
    learning_rates: z
      .array(z.number().positive())
      .min(1)
      .describe('Tried by every method alike; the lowest validation loss chooses.'),
    sweep: z
      .strictObject({
        seed: z.int().min(0).default(0),
        task: z.string().min(1).optional().describe('A key of tasks; the first when absent.'),
      })
      .prefault({})
      .describe('Where the learning rates are tried.'),
    training: trainingPatch
      .default({})
      .describe(
        'Shared by all runs, where their task or ablation has no training of its own; seed and rate are the study’s.',
      ),
    ablations: z
      .array(ablationSchema)
      .default([])
      .describe('One-factor variations of a method, each against the others of its ablation.'),
    claims: z.array(claimSchema).default([]).describe('Claims that the report decides.'),
    validation_rows: positiveInt
      .optional()
      .describe('Answer only so many validation rows for the accuracy.'),
    device: runConfigSchema.shape.device,
    threads: runConfigSchema.shape.threads,
    output_dir: z
      .string()
      .min(1)
      .optional()
      .describe('Folder of the study; .dota/studies/<file name> when absent.'),
    results: z
      .string()
      .min(1)
      .optional()
      .describe('File of the results, a JSON line each; results.jsonl in output_dir when absent.'),
  })
  .describe('A DoTA study.');

export type StudyConfig = z.output<typeof studyConfigSchema>;
export type StudyConfigInput = z.input<typeof studyConfigSchema>;
export type StudyVariant = StudyConfig['methods'][string];
