/** Packages the extension, installs it into the real VS Code and starts that once for the suite. */
import { mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestProject } from 'vitest/node';
import { baseSettings } from './settings';
// @ts-expect-error a script without types
import { buildForPackage, packageTarget, thisTarget } from '../../scripts/package.mjs';
// @ts-expect-error a script without types
import { ensureCodeServer, freePort, installVsix, startCodeServer } from '../../scripts/vscode.mjs';

export interface EditorPlaces {
  url: string;
  /** Holds one workspace a test. */
  workspaces: string;
  settingsFile: string;
  /** Settings of the machine that the extension runs on. */
  machineSettingsFile: string;
  vsix: string;
  extensionsDir: string;
  logs: string;
  serverPid: number;
}

declare module 'vitest' {
  export interface ProvidedContext {
    editor: EditorPlaces;
  }
}

export async function setup(project: TestProject): Promise<() => void> {
  const server = ensureCodeServer() as unknown;
  buildForPackage();
  const vsix = packageTarget(thisTarget) as string;
  const home = mkdtempSync(path.join(tmpdir(), 'dota-e2e-'));
  const userDataDir = path.join(home, 'user');
  const extensionsDir = path.join(home, 'extensions');
  const workspaces = path.join(home, 'workspaces');
  const settingsFile = path.join(userDataDir, 'User', 'settings.json');
  mkdirSync(path.dirname(settingsFile), { recursive: true });
  mkdirSync(workspaces);
  writeFileSync(settingsFile, JSON.stringify(baseSettings));
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
  project.provide('editor', {
    url: `http://127.0.0.1:${port}`,
    workspaces,
    settingsFile,
    machineSettingsFile: path.join(userDataDir, 'Machine', 'settings.json'),
    vsix,
    extensionsDir,
    logs: path.join(userDataDir, 'logs'),
    serverPid: child.pid,
  });
  return () => {
    try {
      // The server's own group: what it started goes with it.
      process.kill(-child.pid, 'SIGTERM');
    } catch {
      // It is gone already.
    }
    if (process.env.DOTA_E2E_KEEP !== '1') {
      rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    } else console.log(`Kept: ${home}`);
  };
}
