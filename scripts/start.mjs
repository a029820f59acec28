// `npm start`: builds the VSIX, installs it, and opens a sample workspace with it: in VS Code where
// `code` is on PATH, else in VS Code from npm, whose address is printed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildForPackage, packageTarget, targets, thisTarget } from './package.mjs';
import { ensureCodeServer, freePort, installVsix, startCodeServer } from './vscode.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const workspace = path.join(root, 'out/sample-workspace');

/** A folder to try things in; what the user changed there stays. */
function prepareWorkspace() {
  mkdirSync(workspace, { recursive: true });
  const readme = path.join(workspace, 'README.md');
  if (!existsSync(readme))
    writeFileSync(
      readme,
      [
        '# Try DoTA here',
        '',
        '1. Open the DoTA view in the activity bar.',
        '2. Run **DoTA: Fine-tune** from the command palette and press Enter on each question.',
        '3. Watch the metrics; close the window in the middle, and come back.',
        '',
      ].join('\n'),
    );
}

/** Runs `code` without a shell; on Windows it is a script that only one can start. */
function code(args) {
  return spawnSync('code', args, {
    encoding: 'utf8',
    shell: process.platform === 'win32',
    windowsHide: true,
  });
}

if (!(thisTarget in targets)) {
  console.error(`There is no package for ${thisTarget}.`);
  process.exit(65);
}
buildForPackage();
const vsix = packageTarget(thisTarget);
prepareWorkspace();

if (code(['--version']).status === 0) {
  const installed = code(['--install-extension', vsix, '--force']);
  if (installed.status !== 0) {
    console.error(`${installed.stdout}${installed.stderr}`);
    process.exit(1);
  }
  code(['--new-window', workspace]);
  console.log(`Opened ${workspace} in VS Code.`);
} else {
  const server = ensureCodeServer();
  const home = path.join(root, '.vscode-test/start');
  const places = {
    userDataDir: path.join(home, 'user'),
    extensionsDir: path.join(home, 'extensions'),
  };
  mkdirSync(places.userDataDir, { recursive: true });
  installVsix(server, vsix, places);
  const port = await freePort();
  const log = openSync(path.join(home, 'server.log'), 'a');
  const child = await startCodeServer(server, { ...places, port, log });
  console.log(`VS Code is at http://127.0.0.1:${port}/?folder=${encodeURIComponent(workspace)}`);
  console.log('Ctrl+C ends it.');
  const end = () => {
    try {
      process.kill(-child.pid, 'SIGTERM');
    } catch {
      // It is gone already.
    }
    process.exit(0);
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
  child.on('exit', (status) => process.exit(status ?? 1));
}
