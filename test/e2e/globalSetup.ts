/** Packages the extension, installs it into the real VS Code and starts that once for the suite. */
import { mkdirSync, mkdtempSync, openSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { resolveCliArgsFromVSCodeExecutablePath } from '@vscode/test-electron';
import type { TestProject } from 'vitest/node';
import { claim, clear, clearLeftovers, endProcessesOf, prefix } from './leftovers';
import { descendants } from './project';
import { baseSettings } from './settings';
// @ts-expect-error a script without types
import { buildForPackage, packageTarget, thisTarget } from '../../scripts/package.mjs';
// @ts-expect-error a script without types
import * as scripts from '../../scripts/vscode.mjs';

const { cleanEnvironment, ensureCodeServer, freePort, installVsix, startCodeServer } = scripts;

export interface EditorPlaces {
  url: string;
  /** Holds one workspace a test. */
  workspaces: string;
  settingsFile: string;
  /** Settings of the machine that the extension runs on; empty where there are none. */
  machineSettingsFile: string;
  vsix: string;
  extensionsDir: string;
  userDataDir: string;
  /** 0 on the desktop. */
  serverPid: number;
  /** Program of the desktop editor; empty where a server and a browser stand in for it. */
  desktop: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    editor: EditorPlaces;
  }
}

/** What of the desktop editor `npm run test:desktop` found; empty for the server and a browser. */
const desktop = process.env.DOTA_DESKTOP_PROGRAM ?? '';

function installIntoDesktop(vsix: string, userDataDir: string, extensionsDir: string): void {
  const [cli, ...args] = resolveCliArgsFromVSCodeExecutablePath(desktop);
  const run = spawnSync(
    cli!,
    [
      // Those of the resolver name directories of its own.
      ...args.filter((a) => !/^--(user-data|extensions)-dir/.test(a)),
      `--user-data-dir=${userDataDir}`,
      `--extensions-dir=${extensionsDir}`,
      '--install-extension',
      vsix,
      '--force',
    ],
    { encoding: 'utf8', env: cleanEnvironment() as Record<string, string> },
  );
  if (run.status !== 0) throw new Error(`Installing ${vsix} failed:\n${run.stdout}${run.stderr}`);
}

export async function setup(project: TestProject): Promise<() => void> {
  clearLeftovers();
  const server = desktop === '' ? (ensureCodeServer() as unknown) : undefined;
  buildForPackage();
  const vsix = packageTarget(thisTarget) as string;
  const home = mkdtempSync(path.join(tmpdir(), prefix));
  claim(home);
  endWhenKilled(home);
  const userDataDir = path.join(home, 'user');
  const extensionsDir = path.join(home, 'extensions');
  const workspaces = path.join(home, 'workspaces');
  const settingsFile = path.join(userDataDir, 'User', 'settings.json');
  mkdirSync(path.dirname(settingsFile), { recursive: true });
  mkdirSync(workspaces);
  writeFileSync(settingsFile, JSON.stringify(baseSettings));
  let url = '';
  let serverPid = 0;
  if (server === undefined) {
    installIntoDesktop(vsix, userDataDir, extensionsDir);
  } else {
    installVsix(server, vsix, { userDataDir, extensionsDir });
    const port = (await freePort()) as number;
    const log = openSync(path.join(home, 'server.log'), 'a');
    const child = (await startCodeServer(server, {
      userDataDir,
      extensionsDir,
      port,
      log,
      trust: false,
    })) as { pid: number };
    serverPid = child.pid;
    claim(home, serverPid);
    url = `http://127.0.0.1:${port}`;
  }
  project.provide('editor', {
    url,
    desktop,
    workspaces,
    settingsFile,
    // On the desktop, the user's settings are the machine's.
    machineSettingsFile:
      server === undefined ? '' : path.join(userDataDir, 'Machine', 'settings.json'),
    vsix,
    userDataDir,
    extensionsDir,
    serverPid,
  });
  return () => {
    tidyUp(home);
  };
}

function tidyUp(home: string): void {
  if (process.env.DOTA_E2E_KEEP === '1') {
    writeFileSync(path.join(home, 'keep'), '');
    endProcessesOf(home);
    console.log(`Kept: ${home}`);
  } else clear(home);
}

/**
 * A suite that is ended from outside tidies up before it goes, the tests that are under way first. It
 * has to be done when the handler returns: vitest has handlers too, which end the process.
 */
function endWhenKilled(home: string): void {
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.once(signal, () => {
      for (const pid of descendants(process.pid, /./)) {
        if (pid === process.pid) continue;
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It ended with another.
        }
      }
      tidyUp(home);
      process.exit(status);
    });
  }
}
