/** `dota doctor`: what this machine has for training, and what to do about what it lacks. */
import os from 'node:os';
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { DotaError, formatError } from '../../protocol/errors';
import { newSocketPath } from '../../runs/controlServer';
import { physicalCores } from '../training/prepareModel';
import { hasWebGpu } from '../training/chooseDevice';
import { gpuStates, type GpuState } from '../training/gpuMemory';
import { type ProbeAnswer, rememberProbe } from '../training/probeDevices';
import { nvidiaDriver } from '../training/vulkan';
import { printJson, printLine } from './output';
import { versions } from './versions';

interface Check {
  name: string;
  ok: boolean;
  text: string;
}

const minimumNode = 20;

export interface DoctorOptions {
  json?: boolean;
}

/** @throws DotaError `device.unavailable` when nothing can be trained here */
export async function runDoctor(options: DoctorOptions): Promise<void> {
  const found = await versions();
  // One after the other: two probes at once would measure each other.
  const cpu = await rememberProbe('cpu', found.onnxruntime);
  const webgpu = hasWebGpu() ? await rememberProbe('webgpu', found.onnxruntime) : noWebGpu();
  const gpus = await gpuStates();
  const checks: Check[] = [
    {
      name: 'Node.js',
      ok: Number.parseInt(found.node, 10) >= minimumNode,
      text: `${found.node} (${process.execPath})`,
    },
    { name: 'onnxruntime', ok: found.onnxruntime !== 'missing', text: found.onnxruntime },
    ...[cpu, webgpu].map(deviceCheck),
    ...gpus.map(gpuCheck),
    ...cudaCheck(gpus),
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
    printJson({ ok: true, dota: found.dota, ...machine, checks, devices: [cpu, webgpu], gpus });
  }
}

function noWebGpu(): ProbeAnswer {
  return {
    kind: 'webgpu',
    ok: false,
    error: {
      code: 'device.unavailable',
      message: `onnxruntime has no GPU provider for ${process.platform}-${process.arch}.`,
      next: 'Training uses the processor.',
    },
    stderr: '',
  };
}

function deviceCheck(probe: ProbeAnswer): Check {
  const name = `device ${probe.kind}`;
  if (!probe.ok) {
    const said =
      probe.stderr === '' ? '' : `\n       ${probe.stderr.split('\n').join('\n       ')}`;
    return { name, ok: false, text: formatError(probe.error) + said };
  }
  const { gflops, error, halfError, bufferMb, software } = probe;
  const parts = [
    `${gflops.toFixed(1)} GFLOP/s`,
    `fp32 checked (error ${error.toExponential(1)})`,
    ...(probe.kind === 'cpu'
      ? []
      : [
          halfError === undefined
            ? 'no half precision (not needed)'
            : `half precision checked (error ${halfError.toExponential(1)})`,
          `buffers up to ${bufferMb} MiB`,
        ]),
  ];
  if (!software) return { name, ok: true, text: parts.join(', ') };
  const refused =
    'refused: a software adapter computes on the processor, only slower; --allow-software-gpu takes it for tests';
  return { name, ok: false, text: `${parts.join(', ')}; ${refused}` };
}

function gpuCheck({ name, driver, totalMb, usedMb, shared }: GpuState): Check {
  const version = driver === undefined ? '' : `, driver ${driver}`;
  const memory = shared
    ? `up to ${totalMb} MB of the machine’s memory`
    : usedMb === undefined
      ? `${totalMb} MB`
      : `${usedMb} of ${totalMb} MB in use`;
  return { name: 'GPU', ok: true, text: `${name}: ${memory}${version}` };
}

/** CUDA is found and explained; training on a GPU goes through WebGPU. */
function cudaCheck(gpus: readonly GpuState[]): Check[] {
  const driver = nvidiaDriver() ?? gpus.find(({ vendor }) => vendor === 'nvidia')?.driver;
  if (driver === undefined) return [];
  const text =
    `driver ${driver} found, not used: there is no CUDA path in this version; an NVIDIA GPU trains ` +
    'through WebGPU, which needs the Vulkan part of its driver.';
  return [{ name: 'CUDA', ok: true, text }];
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
