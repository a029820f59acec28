/**
 * The run configuration (`*.dota.json`): one zod schema that validates, fills defaults and yields
 * the JSON schema for completion and hover help in the editor. Names are those of PEFT
 * (`adapter`) and of Hugging Face's Trainer and TRL (`training`, `data`).
 */
import * as z from 'zod';

const positiveInt = z.int().min(1);
const paths = 'Relative to the configuration file.';

export const methods = ['dota', 'random_mpo', 'mpop', 'lora', 'loretta', 'full'] as const;
export type Method = (typeof methods)[number];

const adapterSchema = z
  .strictObject({
    r: positiveInt
      .default(8)
      .describe('Largest bond dimension of the MPO (or rank of LoRA). Clamped to the full bond.'),
    target_modules: z
      .union([z.array(z.string().min(1)).min(1), z.string().min(1)])
      .default(['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'])
      .describe(
        'Modules to adapt: a list of names or suffixes, a string taken as a regular expression on ' +
          'the full module path, or "all-linear".',
      ),
    exclude_modules: z
      .union([z.array(z.string().min(1)), z.string().min(1)])
      .optional()
      .describe('Modules to leave alone, in the same two forms; wins over target_modules.'),
    layers_to_transform: z
      .union([z.int().min(0), z.array(z.int().min(0))])
      .optional()
      .describe('Layer indices to adapt; all layers when absent.'),
    rank_pattern: z
      .record(z.string(), z.union([positiveInt, z.array(positiveInt).min(1)]))
      .default({})
      .describe(
        'Rank by module name or suffix, overriding r; first match wins. A list gives every bond of ' +
          'the MPO its own dimension, in order.',
      ),
    mpo_cores: z
      .int()
      .min(2)
      .max(8)
      .default(3)
      .describe('Number of cores n in the chain. Ignored where mpo_shapes names the module.'),
    mpo_shapes: z
      .record(
        z.string(),
        z.strictObject({ rows: z.array(positiveInt).min(2), cols: z.array(positiveInt).min(2) }),
      )
      .default({})
      .describe('Row and column factors by module name or suffix, overriding mpo_cores.'),
    orientation: z
      .enum(['out', 'in'])
      .default('out')
      .describe('Whether the cores’ row legs run over out_features or in_features.'),
    gauge: z
      .enum(['left', 'sqrt', 'sqrt_rms'])
      .default('sqrt_rms')
      .describe(
        'How the singular values are shared among the cores. All give the same matrix; sqrt_rms ' +
          'balances the cores for Adam.',
      ),
    init_weights: z
      .enum(['mpo', 'gradient'])
      .default('mpo')
      .describe(
        'DoTA only: what the cores are the MPO of. mpo: the pretrained weight, as in the paper; ' +
          'gradient: the loss’s gradient of the full weight over the first batches, at the same norm.',
      ),
    init_gradient_batches: positiveInt
      .default(8)
      .describe('Batches that the gradient of init_weights "gradient" is accumulated over.'),
    trainable_cores: z
      .union([z.enum(['all', 'auxiliary', 'central']), z.array(z.int().min(0)).min(1)])
      .optional()
      .describe(
        'Which cores train, the others being frozen: all, auxiliary (all but the central, largest ' +
          'one), central, or a list of indices from 0. all when absent; with mpop, auxiliary.',
      ),
    core_learning_rate_factors: z
      .array(z.number().positive())
      .optional()
      .describe(
        'Factors on learning_rate, one for each core in order; the last holds for the cores after it.',
      ),
    residual: z
      .enum(['implicit', 'explicit'])
      .default('implicit')
      .describe(
        'implicit: W + MPO(A) - MPO(A0) on the untouched checkpoint; explicit: store W_res. The ' +
          'same function.',
      ),
    lora_alpha: z.number().positive().optional().describe('LoRA scale numerator; r when absent.'),
    use_rslora: z
      .boolean()
      .default(false)
      .describe('LoRA only: scale by alpha / sqrt(r) instead of alpha / r (rsLoRA).'),
    use_dora: z
      .boolean()
      .default(false)
      .describe('LoRA only: train a magnitude for each output beside the direction (DoRA).'),
    init_lora_weights: z
      .union([z.literal(true), z.enum(['gaussian', 'pissa'])])
      .default(true)
      .describe(
        'LoRA only. true: Kaiming-uniform A and zero B; gaussian: Gaussian A; pissa: the leading ' +
          'singular triples of the weight, with a frozen residual.',
      ),
    init_std: z
      .number()
      .positive()
      .optional()
      .describe(
        'Random cores only: standard deviation. When absent, random_mpo matches the MPO of W and ' +
          'loretta takes the published one.',
      ),
    init_random: z
      .enum(['zero_core', 'frozen_copy', 'plain'])
      .default('zero_core')
      .describe(
        'Random cores only (random_mpo, loretta): what keeps step 0 at the pretrained model. ' +
          'zero_core: the last core starts at zero; frozen_copy: all are random and a frozen copy ' +
          'of the start is subtracted; plain: nothing does, as LoRETTA was published.',
      ),
    tensor_rank: positiveInt
      .default(5)
      .describe('LoRETTA only: rank of the tensor trains that make up A and B.'),
  })
  .describe('The adapter: which modules, which shape, which start.');

const dataSchema = z
  .strictObject({
    train: z.string().min(1).describe(`Training file (JSON, JSONL, CSV, Parquet, text). ${paths}`),
    validation: z
      .string()
      .min(1)
      .optional()
      .describe(`Validation file; when absent, validation_split of the training file. ${paths}`),
    validation_split: z.number().min(0).max(0.5).default(0.05),
    test: z.string().min(1).optional().describe(`Test file, scored once at the end. ${paths}`),
    test_sets: z
      .array(z.string().min(1))
      .min(1)
      .optional()
      .describe(
        'Sets of the LLM-Adapters protocol, as files or folders, that "dota evaluate" answers where ' +
          `none is named. Training does not read them. ${paths}`,
      ),
    template: z
      .enum(['auto', 'plain', 'alpaca', 'llm-adapters', 'chat'])
      .default('auto')
      .describe('How a row becomes text; auto chooses by the row’s fields.'),
    loss_mask: z
      .enum(['completion', 'assistant', 'all'])
      .default('completion')
      .describe('Which tokens are trained on. LLM-Adapters itself uses all.'),
    max_length: positiveInt.default(512).describe('Tokens a sequence, longer ones are truncated.'),
    truncation: z
      .enum(['keep_start', 'drop', 'error'])
      .default('keep_start')
      .describe('What happens to a sequence longer than max_length.'),
    packing: z
      .boolean()
      .default(false)
      .describe('Pack several sequences into one row, with attention and positions kept apart.'),
  })
  .describe('What is trained on.');

const trainingSchema = z
  .strictObject({
    num_train_epochs: z.number().positive().default(3),
    max_steps: z
      .int()
      .min(-1)
      .default(-1)
      .describe('Optimizer steps; wins over num_train_epochs when positive.'),
    per_device_train_batch_size: positiveInt
      .default(8)
      .describe(
        'Sequences of a micro-batch; times gradient_accumulation_steps it is a step’s batch.',
      ),
    gradient_accumulation_steps: positiveInt.default(1),
    per_device_eval_batch_size: positiveInt.default(8),
    auto_find_batch_size: z
      .boolean()
      .default(false)
      .describe(
        'Compute fewer sequences at once where the memory estimate, or memory itself, says so. The ' +
          'batch of a step stays the same (in the Trainer it shrinks).',
      ),
    learning_rate: z.number().positive().default(1e-3),
    lr_scheduler_type: z.enum(['linear', 'cosine', 'constant']).default('cosine'),
    warmup_steps: z
      .number()
      .min(0)
      .default(0)
      .describe('Steps of linear warm-up; below 1 it is a share of all steps.'),
    optim: z
      .enum(['adamw_torch', 'adamw_8bit'])
      .default('adamw_torch')
      .describe(
        'adamw_8bit: both moments in 8 bits, blockwise (2 bytes a parameter instead of 8); worth it ' +
          'for full fine-tuning. On the CPU only.',
      ),
    weight_decay: z.number().min(0).default(0),
    adam_beta1: z.number().min(0).lt(1).default(0.9),
    adam_beta2: z.number().min(0).lt(1).default(0.999),
    adam_epsilon: z.number().positive().default(1e-8),
    max_grad_norm: z.number().min(0).default(1).describe('0 switches clipping off.'),
    seed: z.int().min(0).default(0),
    group_by_length: z
      .boolean()
      .default(false)
      .describe('Batch rows of similar length, so that little padding is computed.'),
    logging_steps: positiveInt.default(1),
    eval_steps: z
      .int()
      .min(0)
      .default(0)
      .describe('Evaluate every so many steps; 0 = at the end of each epoch.'),
    eval_on_start: z.boolean().default(true),
    save_steps: z
      .int()
      .min(0)
      .default(0)
      .describe('Checkpoint every so many steps; 0 = at each evaluation.'),
    save_total_limit: positiveInt.default(2).describe('Checkpoints kept, best and last aside.'),
    early_stopping_patience: z
      .int()
      .min(0)
      .default(0)
      .describe('Stop after so many evaluations without improvement; 0 = never.'),
    early_stopping_threshold: z.number().min(0).default(0),
    load_best_model_at_end: z.boolean().default(true),
    gradient_checkpointing: z
      .union([z.boolean(), z.literal('auto')])
      .default('auto')
      .describe(
        'Recompute all activations in the backward pass: less memory, about 0.77 x speed, the same ' +
          'numbers. auto: only where the memory estimate is more than there is.',
      ),
    report_to: z
      .array(z.enum(['tensorboard']))
      .default([])
      .describe('Extra logs beside the journal.'),
  })
  .describe('The training loop, in the Trainer’s names.');

const quantizationSchema = z
  .strictObject({
    load_in_4bit: z
      .boolean()
      .default(false)
      .describe(
        'Keep the frozen matrices in NF4 (QDoTA with method dota, where the residual is quantised; ' +
          'QLoRA with lora). Implies an explicit residual.',
      ),
    bnb_4bit_use_double_quant: z
      .boolean()
      .default(true)
      .describe('Store the block scales in 8 bits as well: 4.127 instead of 4.5 bits a weight.'),
    loftq_iter: positiveInt
      .max(16)
      .default(1)
      .describe(
        'dota only: rounds of decompose, quantise the residual, decompose what the 4-bit matrix ' +
          'leaves. 1 decomposes the weight itself; the round with the smallest error is kept.',
      ),
  })
  .describe('4-bit storage of the frozen weights.');

export const runConfigSchema = z
  .strictObject({
    $schema: z.string().optional(),
    name: z.string().max(120).optional().describe('Name shown for the run.'),
    model: z
      .string()
      .min(1)
      .default('sample')
      .describe(`Model folder in Hugging Face layout, or "sample". ${paths}`),
    model_init: z
      .enum(['pretrained', 'random'])
      .default('pretrained')
      .describe('random: start from fresh weights of config.json’s shape (pretraining).'),
    method: z
      .enum(methods)
      .default('dota')
      .describe(
        'dota: MPO of the pretrained weight; random_mpo: the same cores, random; mpop: the MPO in place ' +
          'of the weight, central core frozen; lora; loretta: LoRA in tensor trains; full: all weights.',
      ),
    adapter: adapterSchema.prefault({}),
    quantization: quantizationSchema.prefault({}),
    data: dataSchema,
    training: trainingSchema.prefault({}),
    device: z
      .enum(['auto', 'cpu', 'webgpu'])
      .default('auto')
      .describe('auto: the fastest device that passes its check.'),
    allow_software_gpu: z
      .boolean()
      .default(false)
      .describe('Accept a software WebGPU adapter (tests only: slower than cpu).'),
    threads: z.int().min(0).default(0).describe('CPU threads; 0 = physical cores.'),
    output_dir: z
      .string()
      .min(1)
      .default('.dota/runs')
      .describe(`Folder that holds the run folders. ${paths}`),
  })
  .describe('A DoTA run.');

/** A configuration with every default filled in. */
export type RunConfig = z.output<typeof runConfigSchema>;
/** What a user may write. */
export type RunConfigInput = z.input<typeof runConfigSchema>;
