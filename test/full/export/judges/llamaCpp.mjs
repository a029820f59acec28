// Logits of llama.cpp (through node-llama-cpp) for given token ids, and its ids for given texts.
// Usage: node llamaCpp.mjs PACKAGES MODEL.gguf INPUT.json OUT.f32
// INPUT: {"ids": [...], "texts": [...]}. Writes fp32 [tokens, vocabulary]; prints {"texts": [[ids]]}.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, model, input, out] = process.argv.slice(2);
const entry = path.join(packages, 'node_modules/node-llama-cpp/dist/index.js');
const { getLlama } = await import(pathToFileURL(entry).href);
const { ids, texts } = JSON.parse(await readFile(input, 'utf8'));

const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: 2 });
const loaded = await llama.loadModel({ modelPath: path.resolve(model), gpuLayers: 0 });
const result = { texts: texts.map((text) => [...loaded.tokenize(text, false)]) };
if (out !== undefined) {
  // Context sizes that are no multiple of 256 are rounded by some versions of llama.cpp.
  const context = await loaded.createContext({ contextSize: Math.max(256, ids.length) });
  const sequence = context.getSequence();
  const options = { generateNext: { logits: true, options: { temperature: 0 } } };
  const outputs = await sequence.controlledEvaluate(ids.map((id) => [id, options]));
  const vocabulary = outputs[0].next.logits.size;
  const logits = new Float32Array(ids.length * vocabulary);
  for (const [row, output] of outputs.entries()) {
    for (const [token, value] of output.next.logits) logits[row * vocabulary + token] = value;
  }
  await writeFile(out, logits);
}
console.log(JSON.stringify(result));
await llama.dispose();
