/** Steps of DoTA on a small model; prints resident memory in MB after every hundred. */
import { openDevice } from '../../../src/trainer/ort/device';
import { enableGarbageCollection } from '../../../src/trainer/garbageCollection';
import { defaults, openEngine, randomBatch } from '../../../bench/step/setup';
import { takeStep } from '../../../src/trainer/profile/takeStep';

enableGarbageCollection();
const options = { ...defaults, hidden: 128, layers: 3, batch: 4, sequence: 64, vocabulary: 512 };
const engine = await openEngine(options, openDevice({ kind: 'cpu', threads: 1 }));
const batch = randomBatch(options);
const resident: number[] = [];
for (let step = 1; step <= 600; step++) {
  await takeStep(engine, [batch], step, { learningRate: 1e-4 });
  if (step % 100 === 0) {
    // 19 KB of garbage a step, which the collector takes after about a thousand of them, is no leak.
    globalThis.gc?.();
    resident.push(process.memoryUsage.rss() / 2 ** 20);
  }
}
console.log(JSON.stringify(resident));
process.exit(0);
