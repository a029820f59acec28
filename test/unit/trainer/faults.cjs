// Preloaded into a trainer by tests (NODE_OPTIONS=--require): lets the runtime fail as it does on a
// machine without enough memory, or with a GPU that goes away. No product code knows of it.
//   DOTA_TEST_MAX_TOKENS  products of more hidden states than this fail for want of memory
//   DOTA_TEST_LOSE_AFTER  from this run of a backward graph on the device is lost
//   DOTA_TEST_FREE_BYTES  what the machine says is free
const Module = require('node:module');
const os = require('node:os');

const maxTokens = Number(process.env.DOTA_TEST_MAX_TOKENS ?? Infinity);
const loseAfter = Number(process.env.DOTA_TEST_LOSE_AFTER ?? Infinity);
if (process.env.DOTA_TEST_FREE_BYTES !== undefined) {
  os.freemem = () => Number(process.env.DOTA_TEST_FREE_BYTES);
}

let backward = 0;
const patched = new WeakSet();
const load = Module._load;
Module._load = function (request, ...rest) {
  const loaded = load.call(this, request, ...rest);
  if (request === 'onnxruntime-node' && !patched.has(loaded)) {
    patched.add(loaded);
    const create = loaded.InferenceSession.create.bind(loaded.InferenceSession);
    loaded.InferenceSession.create = async (...args) => failing(await create(...args));
  }
  return loaded;
};

function failing(session) {
  const run = session.run.bind(session);
  session.run = (feeds, ...rest) => {
    // The words of the runtime (std::bad_alloc) and of Dawn.
    if (feeds.hidden !== undefined && feeds.cos !== undefined && feeds.hidden.dims[0] > maxTokens) {
      const text =
        "Non-zero status code returned while running Gemm node. Name:'' Status Message: ";
      throw new Error(`${text}std::bad_alloc`);
    }
    if (feeds.output_gradient !== undefined && (backward += 1) > loseAfter) {
      throw new Error('WebGPU validation failed. [Device] is lost.');
    }
    return run(feeds, ...rest);
  };
  return session;
}
