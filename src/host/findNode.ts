/**
 * Finds the Node.js that trains. An explicit chain: the setting, absolute entries of PATH, the Node of
 * a remote server, the editor's own binary. A candidate counts only after a probe run; it must be built for
 * a processor that there is an onnxruntime for, and the editor's binary must load it, because Electron
 * forbids what some native modules do.
 */
import { execFile } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';
import { childEnvironment, type Environment } from './environment';

export const minimumNodeMajor = 20;

export type NodeSource = 'setting' | 'path' | 'remote' | 'editor';

export interface NodeProgram {
  program: string;
  version: string;
  source: NodeSource;
  /** To be started with `ELECTRON_RUN_AS_NODE`. */
  asElectron: boolean;
}

export interface NodeSearch {
  /** `dota.nodePath`, '' when not set. */
  setting: string;
  environment: Environment;
  platform: NodeJS.Platform;
  /** The extension host's own program. */
  execPath: string;
  /** `process.versions.electron` of the extension host; undefined on a remote server. */
  electron: string | undefined;
  /** The trainer's entry, from whose folder the editor's binary must be able to load onnxruntime. */
  trainerEntry: string;
}

/** Answers what a program says of itself, or why it does not count. */
export type Probe = (
  candidate: Candidate,
  search: NodeSearch,
) => Promise<{ version: string } | { problem: string }>;

export interface Candidate {
  program: string;
  source: NodeSource;
  asElectron: boolean;
}

/** The programs to try, best first. */
export async function candidates(search: NodeSearch): Promise<Candidate[]> {
  if (search.setting !== '') {
    return [{ program: search.setting, source: 'setting', asElectron: false }];
  }
  const found: Candidate[] = [];
  for (const program of await onPath(search)) {
    found.push({ program, source: 'path', asElectron: false });
  }
  if (search.electron === undefined) {
    found.push({ program: search.execPath, source: 'remote', asElectron: false });
  } else {
    found.push({ program: search.execPath, source: 'editor', asElectron: true });
  }
  return found;
}

async function onPath(search: NodeSearch): Promise<string[]> {
  const windows = search.platform === 'win32';
  const flavour = windows ? path.win32 : path.posix;
  // Windows writes it `Path`.
  const key = Object.keys(search.environment).find((k) => k.toUpperCase() === 'PATH') ?? 'PATH';
  const entries = (search.environment[key] ?? '').split(flavour.delimiter);
  const programs: string[] = [];
  for (const entry of entries) {
    // A relative entry would let a workspace put its own `node` first.
    if (!flavour.isAbsolute(entry)) continue;
    const program = flavour.join(entry, windows ? 'node.exe' : 'node');
    if (!programs.includes(program) && (await isExecutable(program))) programs.push(program);
  }
  return programs;
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

/**
 * Finds a Node.js that can train.
 * @throws DotaError `node.missing`, listing what was tried
 */
export async function findNode(
  search: NodeSearch,
  probe: Probe = probeProgram,
): Promise<NodeProgram> {
  const tried: string[] = [];
  for (const candidate of await candidates(search)) {
    const answer = await probe(candidate, search);
    if ('version' in answer) {
      if (majorOf(answer.version) >= minimumNodeMajor) {
        return { ...candidate, version: answer.version };
      }
      tried.push(`${candidate.program}: version ${answer.version} is too old`);
    } else {
      tried.push(`${candidate.program}: ${answer.problem}`);
    }
  }
  const what =
    search.setting === ''
      ? `No Node.js ${minimumNodeMajor} or later was found.`
      : 'The setting dota.nodePath names no usable Node.js.';
  const list = tried.length === 0 ? 'nothing on PATH' : tried.join('; ');
  throw new DotaError('node.missing', `${what} Tried: ${list}.`, {
    next:
      `Install Node.js ${minimumNodeMajor} or later for this machine’s processor, or set dota.nodePath ` +
      'to its absolute path.',
  });
}

function majorOf(version: string): number {
  return Number.parseInt(version.replace(/^v/, ''), 10);
}

// A Node.js for another processor (x64 on a machine with an ARM processor) finds no binary of onnxruntime.
const versionScript =
  "const path=require('node:path'),{platform,arch,versions}=process;let entry;" +
  "try{entry=require('node:module').createRequire(process.argv[1]).resolve('onnxruntime-node')}catch{}" +
  "if(entry&&!require('node:fs').existsSync(path.join(path.dirname(entry),'../bin/napi-v6',platform,arch))){" +
  'console.error(`is built for ${platform}-${arch}, for which this extension has no onnxruntime`);process.exit(1)}' +
  'process.stdout.write(versions.node)';
// Electron: creating a tensor crosses into native memory, which is what its memory cage may refuse.
const nativeScript =
  "const ort=require(require('node:module').createRequire(process.argv[1]).resolve('onnxruntime-node'));" +
  "new ort.Tensor('float32',new Float32Array(4),[4]);" +
  versionScript;

function probeProgram(
  candidate: Candidate,
  search: NodeSearch,
): Promise<{ version: string } | { problem: string }> {
  const flavour = search.platform === 'win32' ? path.win32 : path.posix;
  if (!flavour.isAbsolute(candidate.program)) {
    return Promise.resolve({ problem: 'not an absolute path' });
  }
  const script = candidate.asElectron ? nativeScript : versionScript;
  return new Promise((resolve) => {
    execFile(
      candidate.program,
      ['-e', script, search.trainerEntry],
      {
        env: childEnvironment(search.environment, candidate.asElectron),
        timeout: 15_000,
        windowsHide: true,
      },
      (error, stdout, stderr) => {
        const version = stdout.trim();
        if (error === null && /^\d+\.\d+\.\d+/.test(version)) {
          resolve({ version });
          return;
        }
        if (error?.code === 'ENOENT') {
          resolve({ problem: 'does not exist' });
          return;
        }
        const lastLine = stderr.trim().split('\n').at(-1) ?? '';
        resolve({ problem: error === null ? 'gave no version' : lastLine || error.message });
      },
    );
  });
}
