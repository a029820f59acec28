/**
 * Our side of `bench step`: one command a line on standard input (`step`, `gemm`, `end`), one JSON
 * object a line in reply.
 */
import { createInterface } from 'node:readline';
import { openDevice } from '../../src/trainer/ort/device';
import { CountingDevice } from '../../src/trainer/profile/countingDevice';
import { prepareProducts, type ProductRuns } from '../../src/trainer/profile/gemmRate';
import { productFlops } from '../../src/trainer/profile/productGraph';
import { peakRssMb } from '../../src/trainer/peakMemory';
import { type BenchOptions, openEngine, randomBatch } from './setup';
import { takeStep } from '../../src/trainer/profile/takeStep';

/** CPU time of all threads since an earlier reading, in seconds. */
function cpuSeconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
}

export async function runWorker(options: BenchOptions): Promise<void> {
  const inner = openDevice({ kind: 'cpu', threads: options.threads });
  const device = new CountingDevice(inner);
  const engine = await openEngine(options, device);
  const batch = randomBatch(options);
  let number = 0;
  const step = async () => {
    device.take();
    const started = performance.now();
    const cpu = process.cpuUsage();
    const { loss } = await takeStep(engine, [batch], ++number, { learningRate: 1e-4 });
    const seconds = (performance.now() - started) / 1000;
    return { seconds, cpu: cpuSeconds(cpu), loss, rss: peakRssMb() };
  };

  let runs: ProductRuns | undefined;
  const timed = async (work: () => Promise<void>) => {
    const started = performance.now();
    const cpu = process.cpuUsage();
    await work();
    return { seconds: (performance.now() - started) / 1000, cpu: cpuSeconds(cpu) };
  };
  const reply = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
  reply({ ready: true });
  for await (const command of createInterface({ input: process.stdin })) {
    if (command === 'step') {
      reply(await step());
    } else if (command === 'gemm') {
      if (!runs) {
        await step();
        const graphs = device.take();
        runs = await prepareProducts(inner, graphs);
        reply({ flops: graphs.reduce((sum, graph) => sum + productFlops(graph), 0) });
      } else {
        const products = await timed(runs.products);
        const without = await timed(runs.without);
        reply({
          seconds: products.seconds - without.seconds,
          cpu: products.cpu - without.cpu,
        });
      }
    } else break;
  }
  await engine.dispose();
  process.exit(0);
}
