/**
 * The environment of a child process. The editor leaves settings of its own in the environment
 * (`NODE_OPTIONS` of a debug session, `ELECTRON_*`, `VSCODE_*`) that would change or break a plain
 * Node.
 */

import { runtimeTelemetryOff } from '../protocol/runtimeEnvironment';

export type Environment = Readonly<Record<string, string | undefined>>;

const editorVariables = /^(VSCODE_|ELECTRON_|CHROME_|GOOGLE_API_KEY$|NODE_OPTIONS$|NODE_REPL_)/i;

/**
 * Drops what the editor set for itself, and switches onnxruntime's telemetry off.
 * @param asElectron the program is the editor's own binary, to be run as Node
 */
export function childEnvironment(base: Environment, asElectron = false): Record<string, string> {
  const clean: Record<string, string> = {};
  for (const [key, value] of Object.entries(base)) {
    if (value !== undefined && !editorVariables.test(key)) clean[key] = value;
  }
  if (asElectron) clean.ELECTRON_RUN_AS_NODE = '1';
  return { ...clean, ...runtimeTelemetryOff };
}
