/** `dota doctor`: what this machine has for training, and what to do about what it lacks. */
import os from 'node:os';
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { DotaError, formatError } from '../../protocol/errors';
import { newSocketPath } from '../../runs/controlServer';
import { physicalCores } from '../training/prepareModel';
import { probeInChild } from '../training/chooseDevice';
import { printJson, printLine } from './output';
import { versions } from './versions';

interface Check {
  name: string;
  ok: boolean;
  text: string;
}

const minimumNode = 20;

/** @throws DotaError `node.missing` or `device.unavailable` when nothing can be trained here */
export async function runDoctor(options: { json?: boolean }): Promise<void> {
  const found = await versions();
  const [cpu, webgpu] = [await probeInChild('cpu'), await probeInChild('webgpu')];
  const checks: Check[] = [
    {
      name: 'Node.js',
      ok: Number.parseInt(found.node, 10) >= minimumNode,
      text: `${found.node} (${process.execPath})`,
    },
    {
      name: 'onnxruntime',
      ok: found.onnxruntime !== 'missing',
      text: found.onnxruntime,
    },
    ...[cpu, webgpu].map((probe) => ({
      name: `device ${probe.kind}`,
      ok: probe.ok,
      text: probe.ok
        ? `${probe.gflops.toFixed(1)} GFLOP/s, numbers checked in fp32${probe.software ? ', software' : ''}`
        : formatError(probe.error),
    })),
    { name: 'control socket', ...(await socketWorks()) },
    { name: 'temporary space', ...(await temporarySpace()) },
  ];
  const machine = {
    platform: found.platform,
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: physicalCores(),
    memory_mb: Math.round(os.totalmem() / 2 ** 20),
  };
  if (options.json !== true) {
    for (const { name, ok, text } of checks) printLine(`${ok ? 'ok  ' : 'no  '} ${name}: ${text}`);
    printLine(
      `     ${machine.cpu}, ${machine.cores} cores, ${machine.memory_mb} MB, ${machine.platform}`,
    );
  }
  if (!cpu.ok) throw DotaError.from(cpu.error);
  if (options.json === true) {
    printJson({ ok: true, dota: found.dota, ...machine, checks, devices: [cpu, webgpu] });
  }
}

/** Without sockets the trainer takes commands from a file, which is slower but works. */
async function socketWorks(): Promise<{ ok: boolean; text: string }> {
  const socket = await newSocketPath().catch(() => '');
  if (socket === '') return { ok: false, text: 'not available; runs are controlled by a file' };
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => {
      resolve({ ok: false, text: `${error.message}; runs are controlled by a file` });
    });
    server.listen(socket, () => {
      server.close(() => {
        resolve({ ok: true, text: path.dirname(socket) });
      });
    });
  });
}

async function temporarySpace(): Promise<{ ok: boolean; text: string }> {
  try {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'dota-doctor-'));
    await rm(folder, { recursive: true, force: true });
    const { bavail, bsize } = await statfs(os.tmpdir());
    return { ok: true, text: `${Math.round((bavail * bsize) / 1e6)} MB free in ${os.tmpdir()}` };
  } catch (error) {
    return { ok: false, text: error instanceof Error ? error.message : String(error) };
  }
}
