/** `dota doctor`: what this machine has for training, and what to do about what it lacks. */
import os from 'node:os';
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { runConfigSchema } from '../../config/runConfig';
import { deviceLine, type RunDevice } from '../../protocol/deviceText';
import { DotaError, ExitCode, exitCodeOf, formatError } from '../../protocol/errors';
import { newSocketPath } from '../../runs/controlServer';
import { availableMemory } from '../training/availableMemory';
import { chooseDevice } from '../training/chooseDevice';
import { deviceFacts } from '../training/deviceFacts';
import { physicalCores } from '../training/physicalCores';
import {
  type DeviceOrder,
  type LeftOut,
  notInOrder,
  ownDeviceOrder,
} from '../training/deviceOrder';
import { driversFor } from '../training/chooseDevice';
import { halfTolerance } from '../training/deviceProbe';
import { gpuStates, type GpuState } from '../training/gpuMemory';
import { type DeviceKind, type ProbeAnswer, rememberProbe } from '../training/probeDevices';
import { runtimeProblem } from '../training/runtimeBinary';
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

/**
 * Prints the report, with `--json` also where nothing can be trained: it is needed most then.
 * @returns the exit code
 * @throws DotaError `device.unavailable` when nothing can be trained here, without `--json`
 */
export async function runDoctor(options: DoctorOptions): Promise<ExitCode> {
  const found = await versions();
  const machine = ownDeviceOrder();
  const noBinary = runtimeProblem();
  const ask = async (kind: DeviceKind): Promise<ProbeAnswer> => {
    const problem = noBinary ?? notInOrder(kind, machine);
    // With the drivers that a run has; of software alone it says so.
    if (problem === undefined)
      return rememberProbe(kind, found.onnxruntime, {
        env: driversFor({ allow_software_gpu: false }),
      });
    return { kind, ok: false, error: problem.toJSON(), stderr: '' };
  };
  // One after the other: two probes at once would measure each other.
  const cpu = await ask('cpu');
  const webgpu = await ask('webgpu');
  const gpus = await gpuStates();
  const checks: Check[] = [
    {
      name: 'Node.js',
      ok: Number.parseInt(found.node, 10) >= minimumNode,
      text: `${found.node} (${process.execPath})`,
    },
    {
      name: 'onnxruntime',
      ok: found.onnxruntime !== 'missing' && noBinary === undefined,
      text: found.onnxruntime,
    },
    orderCheck(machine),
    ...[cpu, webgpu].map(deviceCheck),
    ...machine.leftOut.flatMap((left) => leftOutCheck(left, gpus)),
    ...gpus.map(gpuCheck),
    { name: 'control socket', ...(await socketWorks()) },
    { name: 'temporary space', ...(await temporarySpace()) },
  ];
  const hardware = {
    platform: found.platform,
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: physicalCores(),
    memory_mb: Math.round(os.totalmem() / 2 ** 20),
  };
  const chosen = await chosenDevice(machine, [cpu, webgpu]);
  if (options.json !== true) {
    for (const { name, ok, text } of checks) printLine(`${ok ? 'ok  ' : 'no  '} ${name}: ${text}`);
    printLine(
      `     ${hardware.cpu}, ${hardware.cores} cores, ${hardware.memory_mb} MB, ${hardware.platform}`,
    );
    if (chosen !== undefined) printLine(`     a run takes ${deviceLine(chosen)}`);
    if (!cpu.ok) throw DotaError.from(cpu.error);
    return ExitCode.done;
  }
  if (!cpu.ok) process.stderr.write(`dota: ${formatError(cpu.error)}\n`);
  const available = await availableMemory('cpu');
  printJson({
    ok: cpu.ok,
    ...(cpu.ok ? {} : { error: cpu.error }),
    dota: found.dota,
    node: found.node,
    onnxruntime: found.onnxruntime,
    ...hardware,
    memory_available_mb: available === undefined ? null : Math.round(available / 2 ** 20),
    checks,
    device_order: machine.order,
    left_out: machine.leftOut,
    devices: [cpu, webgpu],
    chosen: chosen ?? null,
    gpus,
  });
  return cpu.ok ? ExitCode.done : exitCodeOf(cpu.error.code);
}

/** What a run with `device: "auto"` takes, given these answers; undefined where nothing can be trained. */
async function chosenDevice(
  machine: DeviceOrder,
  answers: readonly ProbeAnswer[],
): Promise<RunDevice | undefined> {
  const ask = (kind: DeviceKind): Promise<ProbeAnswer> =>
    Promise.resolve(answers.find((answer) => answer.kind === kind) as ProbeAnswer);
  // The processor makes the adapters' start for a GPU as well.
  if (!(await ask('cpu')).ok) return undefined;
  const { device, allow_software_gpu, threads } = runConfigSchema.parse({ data: { train: '-' } });
  return deviceFacts(await chooseDevice({ device, allow_software_gpu }, ask, machine), {
    device,
    threads,
  });
}

/** What `device: "auto"` goes by on this platform. */
function orderCheck({ platform, order }: DeviceOrder): Check {
  if (order.length === 0) {
    return { name: 'device order', ok: false, text: `no device can train on ${platform}` };
  }
  const rule =
    order.length === 1
      ? ''
      : ' (auto takes the first that passes its check and is faster than the next)';
  return { name: 'device order', ok: true, text: `${order.join(', ')} on ${platform}${rule}` };
}

/** The line of a device that was asked. */
export function deviceCheck(probe: ProbeAnswer): Check {
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
            : `half precision ${halfError < halfTolerance ? 'checked' : 'computes wrongly, which training does not need'} ` +
              `(error ${halfError.toExponential(1)})`,
          `buffers up to ${bufferMb} MiB`,
        ]),
  ];
  if (!software) return { name, ok: true, text: parts.join(', ') };
  const refused =
    'refused: a software adapter computes on the processor, only slower; --allow-software-gpu takes it for tests';
  return { name, ok: false, text: `${parts.join(', ')}; ${refused}` };
}

/** The line of a GPU that a tool or the system knows. */
export function gpuCheck({ name, driver, totalMb, usedMb, shared }: GpuState): Check {
  // Vendors' tools know a version; the kernel knows the name of its module.
  const what = /^\d/.test(driver ?? '') ? 'driver' : 'kernel module';
  const version = driver === undefined ? '' : `, ${what} ${driver}`;
  const memory = shared
    ? `up to ${totalMb} MB of the machine’s memory`
    : usedMb === undefined
      ? `${totalMb} MB`
      : `${usedMb} of ${totalMb} MB in use`;
  return { name: 'GPU', ok: true, text: `${name}: ${memory}${version}` };
}

/** Why a provider of the runtime is not in the order; devices that a run can ask for are checked above. */
function leftOutCheck({ device, why }: LeftOut, gpus: readonly GpuState[]): Check[] {
  switch (device) {
    case 'cpu':
    case 'webgpu':
      return [];
    case 'cuda': {
      const driver = nvidiaDriver() ?? gpus.find(({ vendor }) => vendor === 'nvidia')?.driver;
      const found = driver === undefined ? '' : `driver ${driver} found. `;
      return [{ name: 'device cuda', ok: false, text: `not used: ${found}${why}` }];
    }
    case 'dml':
    case 'coreml':
      return [{ name: `device ${device}`, ok: false, text: `not used: ${why}` }];
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
