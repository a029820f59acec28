/** Computes with an array of so many MiB on a device, and prints the error as JSON. */
import { Graph } from '../../../src/graph/graph';
import { expand } from '../../../src/graph/ops/broadcast';
import { scale } from '../../../src/graph/ops/elementwise';
import { slice } from '../../../src/graph/ops/layout';
import { serializeError } from '../../../src/protocol/errors';
import { openDevice } from '../../../src/trainer/ort/device';
import type { DeviceKind } from '../../../src/trainer/ort/sessionOptions';

const [kind, sizeMb] = process.argv.slice(2) as [DeviceKind, string];
const length = Number(sizeMb) * 2 ** 18;
const graph = new Graph();
const large = scale(expand(graph.input('value', 'float32', [1]), [length]), 2);
graph.output('last', slice(large, [length - 1], [length]));
const device = openDevice({ kind, threads: 1 });
try {
  const session = await device.compile(graph.build(), { host: ['last'] });
  const { last } = await session.run({ value: Float32Array.of(3) });
  console.log(JSON.stringify({ last }));
} catch (error) {
  console.log(JSON.stringify(serializeError(error)));
}
process.exit(0);
