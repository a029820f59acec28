/** The settings of every run that makes or measures the sample. */
import type { RunConfigInput } from '../../src/config/runConfig';

/** Width of a packed row in pretraining, tokens. */
const rowLength = 128;

/** From random weights; paths refer to the work folder. */
export const pretraining: RunConfigInput = {
  model: 'init',
  model_init: 'random',
  method: 'full',
  data: {
    train: 'pretraining.train.jsonl',
    validation: 'pretraining.validation.jsonl',
    template: 'plain',
    loss_mask: 'all',
    max_length: rowLength,
    packing: true,
  },
  training: {
    max_steps: 1300,
    per_device_train_batch_size: 16,
    per_device_eval_batch_size: 16,
    learning_rate: 2e-3,
    lr_scheduler_type: 'cosine',
    warmup_steps: 100,
    weight_decay: 0.1,
    adam_beta2: 0.98,
    eval_steps: 200,
    seed: 0,
  },
  device: 'cpu',
  // The committed weights were trained on one thread; more of them may round differently.
  threads: 1,
};

/** The demo: `media/sample/arithmetic.dota.json`; paths refer to that folder. */
export const demo: RunConfigInput = {
  name: 'Arithmetic with DoTA',
  model: 'model',
  method: 'dota',
  adapter: { r: 8, mpo_cores: 3 },
  data: {
    train: 'data/arithmetic.train.json',
    validation: 'data/arithmetic.validation.json',
    test: 'data/arithmetic.test.json',
    template: 'alpaca',
    loss_mask: 'completion',
    max_length: 128,
  },
  training: {
    max_steps: 250,
    per_device_train_batch_size: 16,
    per_device_eval_batch_size: 16,
    learning_rate: 1e-2,
    lr_scheduler_type: 'cosine',
    warmup_steps: 20,
    eval_steps: 50,
    seed: 0,
  },
};
