/**
 * Asks a device in a process of its own: a bad driver can hang or end the process that asks. What it
 * said is kept per driver, so that only the first run on a machine waits for it.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { z } from 'zod';
import { DotaError, type SerializedError } from '../../protocol/errors';
import { isObject, isString } from '../../protocol/guards';
import { userFolder } from '../../runs/userFolder';
import { deviceProbe, type DeviceProbe, singleTolerance, wrongNumbers } from './deviceProbe';
import { isSoftwareAdapter } from './softwareAdapter';
import { driverFingerprint, explainVulkan, vulkanLoader, vulkanParts } from './vulkan';

export type DeviceKind = 'cpu' | 'webgpu';

export type ProbeAnswer =
  | ({ kind: DeviceKind; ok: true; software: boolean } & DeviceProbe)
  | { kind: DeviceKind; ok: false; error: SerializedError; stderr: string };

export interface ProbeOptions {
  /** Program and arguments that answer as `dota probe-device` does. */
  command?: readonly string[];
  timeoutMs?: number;
  env?: NodeJS.ProcessEnv;
  /** Told before the child is started. */
  onProbe?: () => void;
}

const probeMs = 60_000;

/** Opens a device in a child with a deadline. Never throws. */
export function probeInChild(kind: DeviceKind, options: ProbeOptions = {}): Promise<ProbeAnswer> {
  const { timeoutMs = probeMs, env = process.env } = options;
  options.onProbe?.();
  const own = [process.execPath, path.join(__dirname, 'cli.cjs'), 'probe-device', kind];
  const [program, ...args] = (options.command ?? own) as [string, ...string[]];
  return new Promise((resolve) => {
    execFile(
      program,
      args,
      { timeout: timeoutMs, killSignal: 'SIGKILL', windowsHide: true, maxBuffer: 1 << 24, env },
      (error, stdout, stderr) => {
        const end = error?.killed === true ? 'timeout' : (error?.signal ?? undefined);
        void answerOf(kind, { stdout, stderr, end, timeoutMs, env }).then(resolve);
      },
    );
  });
}

interface Ending {
  stdout: string;
  stderr: string;
  /** The signal that ended the child, or that its time was over. */
  end: NodeJS.Signals | 'timeout' | undefined;
  timeoutMs: number;
  env: NodeJS.ProcessEnv;
}

/** Never rejects. */
async function answerOf(kind: DeviceKind, ending: Ending): Promise<ProbeAnswer> {
  const { stdout, env } = ending;
  // The runtime colours its messages.
  const stderr = withoutFrames(stripVTControlCharacters(ending.stderr)).trim();
  const answer = lastJson(stdout);
  const probed = deviceProbe.safeParse(answer);
  if (probed.success && probed.data.error >= singleTolerance) {
    return { kind, ok: false, error: wrongNumbers(kind, probed.data.error).toJSON(), stderr };
  }
  if (probed.success) {
    const software = kind === 'webgpu' && (await isSoftwareAdapter(env));
    return { kind, ok: true, software, ...probed.data };
  }
  const refused = (message: string, next: string): ProbeAnswer => ({
    kind,
    ok: false,
    error: { code: 'device.unavailable', message, next },
    stderr,
  });
  const update = 'Update the GPU’s driver, or set "device": "cpu".';
  if (ending.end === 'timeout') {
    const seconds = Math.round(ending.timeoutMs / 1000);
    return refused(`The device "${kind}" did not answer within ${seconds} s.`, update);
  }
  const library = missingLibrary(stderr);
  // Of Vulkan's own loader more is known below.
  if (library !== undefined && library !== vulkanLoader) {
    return refused(
      `The device "${kind}" needs ${library}, which is not on this machine.`,
      `Install the package that holds ${library}.`,
    );
  }
  const explained =
    kind === 'webgpu' && process.platform === 'linux' ? explainVulkan(vulkanParts(env)) : undefined;
  if (isObject(answer) && isObject(answer.error) && isString(answer.error.message)) {
    const error = answer.error as unknown as SerializedError;
    const message = withoutFrames(error.message).trim();
    if (explained === undefined) return { kind, ok: false, error: { ...error, message }, stderr };
    return refused(`${message} ${explained.message}`, explained.next);
  }
  const how = ending.end === undefined ? 'ended without an answer' : `crashed (${ending.end})`;
  const reason = stderr === '' ? '' : `: ${stderr.split('\n').at(-1) ?? ''}`;
  return refused(sentence(`The process that asked the device "${kind}" ${how}${reason}`), update);
}

/** Without the stack frames of the runtime's C++, which say nothing to users. */
function withoutFrames(text: string): string {
  return text
    .split('\n')
    .filter((line) => !/^\s*at /.test(line))
    .join('\n');
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function lastJson(text: string): unknown {
  try {
    return JSON.parse(text.trimEnd().split('\n').at(-1) ?? '');
  } catch {
    return undefined;
  }
}

/** The dynamic linker's complaint: `libfoo.so.1: cannot open shared object file`. */
function missingLibrary(stderr: string): string | undefined {
  return /([\w./+-]+\.so[\d.]*): cannot open shared object file/.exec(stderr)?.[1];
}

const cachedAnswer = z.object({
  /** 2: the rate is that of operands on the device. */
  version: z.literal(2),
  kind: z.enum(['cpu', 'webgpu']),
  software: z.boolean(),
  ...deviceProbe.shape,
});

/**
 * The answer of an earlier probe on the same driver; starts nothing. Only good answers are kept: what
 * was refused may have been repaired.
 * @param key what else the answer depends on, such as the runtime's version
 * @returns undefined where none is kept
 */
export async function knownProbe(
  kind: DeviceKind,
  key: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<(ProbeAnswer & { ok: true }) | undefined> {
  const file = await cacheFile(kind, key, env);
  const known = file === undefined ? undefined : await readCached(file);
  return known?.kind === kind ? { ...known, ok: true } : undefined;
}

/** The answer of an earlier probe on the same driver, or a new one. @param key as of `knownProbe` */
export async function probeCached(
  kind: DeviceKind,
  key: string,
  options: ProbeOptions = {},
): Promise<ProbeAnswer> {
  return (await knownProbe(kind, key, options.env)) ?? rememberProbe(kind, key, options);
}

/** Probes anew and keeps a good answer. */
export async function rememberProbe(
  kind: DeviceKind,
  key: string,
  options: ProbeOptions = {},
): Promise<ProbeAnswer> {
  const answer = await probeInChild(kind, options);
  const file = await cacheFile(kind, key, options.env ?? process.env);
  if (answer.ok && file !== undefined) {
    // A cache that cannot be written only costs the next run its probe.
    await writeFile(file, JSON.stringify({ version: 2, ...answer })).catch(() => undefined);
  }
  return answer;
}

async function cacheFile(
  kind: DeviceKind,
  key: string,
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const name = createHash('sha256')
    .update([key, process.versions.node, driverFingerprint(env)].join('\n'))
    .digest('hex')
    .slice(0, 16);
  try {
    return path.join(await userFolder(), `probe-${kind}-${name}.json`);
  } catch (error) {
    if (error instanceof DotaError) return undefined;
    throw error;
  }
}

async function readCached(file: string): Promise<z.output<typeof cachedAnswer> | undefined> {
  try {
    return cachedAnswer.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return undefined;
  }
}
