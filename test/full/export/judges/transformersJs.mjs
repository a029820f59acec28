// Logits of a folder in @huggingface/transformers for given token ids: all at once, and again token
// by token through the cache. Usage: node transformersJs.mjs PACKAGES FOLDER INPUT.json OUT
// INPUT: {"ids": [...], "texts": [...]}. Writes OUT/onnx.f32 and OUT/onnx-cached.f32, fp32 [tokens,
// vocabulary]; prints {"texts": [[ids]], "generated": [ids]} (greedy, after the first 32 ids).
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, folder, input, out] = process.argv.slice(2);
const entry = path.join(
  packages,
  'node_modules/@huggingface/transformers/dist/transformers.node.mjs',
);
const { AutoModelForCausalLM, AutoTokenizer, Tensor, env } = await import(
  pathToFileURL(entry).href
);
env.allowRemoteModels = false;
env.localModelPath = `${path.resolve(folder, '..')}/`;
const name = path.basename(folder);
const { ids, texts } = JSON.parse(await readFile(input, 'utf8'));
const model = await AutoModelForCausalLM.from_pretrained(name, { dtype: 'fp32' });
const tokenizer = await AutoTokenizer.from_pretrained(name);

const tensor = (values) =>
  new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
const ones = (length) => tensor(new Array(length).fill(1));
const whole = await model({ input_ids: tensor(ids), attention_mask: ones(ids.length) });
await writeFile(path.join(out, 'onnx.f32'), Float32Array.from(whole.logits.data));

const cached = [];
let past = null;
for (let at = 0; at < ids.length;) {
  // A long piece first, then pieces of one and two tokens.
  const size = at === 0 ? 17 : 1 + (at % 2);
  const piece = ids.slice(at, at + size);
  at += piece.length;
  const result = await model({
    input_ids: tensor(piece),
    attention_mask: ones(at),
    past_key_values: past,
  });
  cached.push(...result.logits.data);
  past = Object.fromEntries(
    Object.entries(result)
      .filter(([key]) => key.startsWith('present.'))
      .map(([key, value]) => [key.replace('present', 'past_key_values'), value]),
  );
}
await writeFile(path.join(out, 'onnx-cached.f32'), Float32Array.from(cached));

const prompt = ids.slice(0, 32);
const generated = await model.generate({
  inputs: tensor(prompt),
  attention_mask: ones(prompt.length),
  max_new_tokens: 24,
  do_sample: false,
});
console.log(
  JSON.stringify({
    texts: texts.map((text) => tokenizer.encode(text, { add_special_tokens: false })),
    generated: Array.from(generated.data, Number).slice(prompt.length),
  }),
);
