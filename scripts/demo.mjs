// Fine-tunes the embedded sample with DoTA and shows what it learned. Everything it does is the
// command line: evaluate the base model, train, evaluate the run. Usage: npm run demo [-- --json]
import { spawn } from 'node:child_process';
import path from 'node:path';

const json = process.argv.includes('--json');
const config = path.join('media', 'sample', 'arithmetic.dota.json');
const cli = path.join('dist', 'trainer', 'cli.cjs');
const runs = path.resolve('.dota', 'runs');
const started = Date.now();

/** Runs `dota <args> --json`, showing its progress, and returns what it printed. */
function dota(...args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [cli, ...args, '--json'], {
      stdio: ['inherit', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    // Ctrl-C reaches the command as well, which then stops with a checkpoint.
    process.once('SIGINT', () => {});
    child.on('close', (code) => {
      if (code !== 0) process.exit(code ?? 70);
      resolve(JSON.parse(output.trimEnd().split('\n').at(-1)));
    });
  });
}

const say = (text) => console.error(text);
const settings = ['--set', `output_dir=${runs}`];

say('Before: the pretrained sample model on the task …');
const before = await dota('evaluate', config);
say('Fine-tuning with DoTA …');
const trained = await dota('train', config, ...settings);
say('After: the fine-tuned model on the same questions …');
const after = await dota('evaluate', trained.run);

const result = {
  val_loss_before: before.val_loss,
  val_loss_after: after.val_loss,
  accuracy_before: before.exact_match,
  accuracy_after: after.exact_match,
  trainable_parameters: trained.trainable_parameters,
  trainable_fraction: trained.trainable_fraction,
  tokens_per_second: trained.tokens_per_second,
  peak_rss_mb: trained.peak_rss_mb,
  seconds: (Date.now() - started) / 1000,
  run: trained.run,
};

if (json) {
  console.log(JSON.stringify(result));
} else {
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const rows = [
    ['', 'before', 'after'],
    ['validation loss', result.val_loss_before.toFixed(4), result.val_loss_after.toFixed(4)],
    ['exact answers', percent(result.accuracy_before), percent(result.accuracy_after)],
  ];
  console.log(
    rows.map(([a, b, c]) => `${a.padEnd(18)}${b.padStart(10)}${c.padStart(10)}`).join('\n'),
  );
  const share = percent(result.trainable_fraction);
  console.log(`trainable parameters ${result.trainable_parameters} (${share} of all)`);
  console.log(
    `${Math.round(result.tokens_per_second)} tokens/s, peak memory ${result.peak_rss_mb} MB`,
  );
  console.log(`${Math.round(result.seconds)} s in all; the run: ${result.run}`);
}
