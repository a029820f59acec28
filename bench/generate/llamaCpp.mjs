// Tokens a second of llama.cpp (through node-llama-cpp), greedy, prompt included.
// Usage: node llamaCpp.mjs PACKAGES MODEL.gguf PROMPT_IDS_JSON TOKENS THREADS
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, model, promptText, tokensText, threadsText] = process.argv.slice(2);
const entry = path.join(packages, 'node_modules/node-llama-cpp/dist/index.js');
const { getLlama } = await import(pathToFileURL(entry).href);
const [prompt, tokens, threads] = [JSON.parse(promptText), Number(tokensText), Number(threadsText)];

const llama = await getLlama({
  gpu: false,
  build: 'never',
  logLevel: 'error',
  maxThreads: threads,
});
const loaded = await llama.loadModel({ modelPath: path.resolve(model), gpuLayers: 0 });

async function generate() {
  const context = await loaded.createContext({
    contextSize: 2 * (prompt.length + tokens),
    threads,
  });
  const started = performance.now();
  let count = 0;
  for await (const _ of context
    .getSequence()
    .evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    count += 1;
    if (count === tokens) break;
  }
  const seconds = (performance.now() - started) / 1000;
  await context.dispose();
  return count / seconds;
}
// The first time the file is read.
await generate();
console.log(JSON.stringify({ tokensPerSecond: await generate() }));
await llama.dispose();
