/** The worker thread: owns onnxruntime and the tensors, and does nothing but compute. */
import { parentPort, workerData } from 'node:worker_threads';
import { Channel } from '../protocol/channel';
import { serializeError } from '../protocol/errors';
import { enableGarbageCollection } from './garbageCollection';
import { memoryError } from './ort/deviceErrors';
import { ControlFlags } from './training/controlFlags';
import { trainRun } from './training/trainRun';
import {
  threadTransport,
  type Silence,
  type WorkerData,
  type WorkerMessages,
} from './training/workerMessages';

async function main(): Promise<void> {
  if (parentPort === null) throw new Error('worker.ts runs as a worker thread only');
  enableGarbageCollection();
  const start = workerData as WorkerData;
  const channel = new Channel<WorkerMessages, Silence>(
    threadTransport(parentPort),
    { requests: {}, events: {} },
    // A flush waits for the disk, however long that takes.
    { requestTimeout: 600_000 },
  );
  try {
    const reason = await trainRun(start, new ControlFlags(start.control), channel);
    channel.notify('ended', { reason });
  } catch (error) {
    // An array that could not be made anywhere in the loop means the same as the runtime's complaint.
    const serialized = serializeError(memoryError(error) ?? error);
    if (serialized.code === 'internal' && error instanceof Error) {
      channel.notify('log', { level: 'warning', text: error.stack ?? error.message });
    }
    channel.notify('failed', { error: serialized });
  }
  channel.dispose();
}

void main();
