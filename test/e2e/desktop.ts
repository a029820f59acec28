/** The desktop VS Code in place of the server and the browser. */
import { _electron, type ElectronApplication, type Page } from 'playwright-core';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { EditorPlaces } from './globalSetup';
// @ts-expect-error a script without types
import { cleanEnvironment } from '../../scripts/vscode.mjs';

let application: ElectronApplication | undefined;

/** Opens a folder in a window of its own; all windows belong to one application, as a user's do. */
export async function openDesktopWindow(
  editor: EditorPlaces,
  program: string,
  folder: string | undefined,
): Promise<Page> {
  const args = [
    `--user-data-dir=${editor.userDataDir}`,
    `--extensions-dir=${editor.extensionsDir}`,
    '--no-sandbox',
    '--disable-gpu',
    '--disable-updates',
    '--disable-telemetry',
    '--skip-welcome',
    '--skip-release-notes',
    '--new-window',
    ...(folder === undefined ? [] : [folder]),
  ];
  const env = cleanEnvironment() as Record<string, string>;
  if (application === undefined) {
    application = await _electron.launch({ executablePath: program, args, env, timeout: 120_000 });
    return application.firstWindow({ timeout: 120_000 });
  }
  const window = application.waitForEvent('window', { timeout: 120_000 });
  // Hands the folder to the application that runs already, and ends.
  spawn(program, args, { env, stdio: 'ignore' });
  return window;
}

export function desktopPid(): number {
  const pid = application?.process().pid;
  if (pid === undefined) throw new Error('The desktop editor is not running.');
  return pid;
}

export async function closeDesktop(): Promise<void> {
  await application?.close();
  application = undefined;
}

/** Whether a process is an extension host: Electron names it in its environment alone. */
export function isDesktopExtensionHost(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').includes('extensionHostProcess');
  } catch {
    return false;
  }
}
