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

const readme = path.join(workspace, 'README.md');

/** What the editor of `npm start` begins with: the workspace's README, and nothing in its way. */
const firstSettings = {
  'workbench.startupEditor': 'readme',
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'chat.disableAIFeatures': true,
  'extensions.ignoreRecommendations': true,
  'telemetry.telemetryLevel': 'off',
};

/** A folder to try things in; what the user changed there stays. */
function prepareWorkspace() {
  mkdirSync(workspace, { recursive: true });
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
  const shell = process.platform === 'win32';
  return spawnSync('code', shell ? args.map((arg) => `"${arg}"`) : args, {
    encoding: 'utf8',
    shell,
    windowsHide: true,
  });
}

async function start() {
  if (!(thisTarget in targets)) throw new Error(`There is no package for ${thisTarget}.`);
  buildForPackage();
  const vsix = packageTarget(thisTarget);
  prepareWorkspace();
  if (code(['--version']).status === 0) startDesktop(vsix);
  else await startServer(vsix);
}

function startDesktop(vsix) {
  const installed = code(['--install-extension', vsix, '--force']);
  if (installed.status !== 0) throw new Error(`${installed.stdout}${installed.stderr}`);
  code(['--new-window', workspace, readme]);
  console.log(`Opened ${workspace} in VS Code.`);
}

async function startServer(vsix) {
  const server = ensureCodeServer();
  const home = path.join(root, '.vscode-test/start');
  const places = {
    userDataDir: path.join(home, 'user'),
    extensionsDir: path.join(home, 'extensions'),
  };
  const settings = path.join(places.userDataDir, 'User/settings.json');
  mkdirSync(path.dirname(settings), { recursive: true });
  if (!existsSync(settings)) writeFileSync(settings, JSON.stringify(firstSettings, null, 2));
  installVsix(server, vsix, places);
  const port = await freePort();
  const log = openSync(path.join(home, 'server.log'), 'a');
  const child = await startCodeServer(server, { ...places, port, log });
  console.log('Open this address in a browser on this machine; Ctrl+C ends the editor.');
  console.log(`  http://127.0.0.1:${port}/?folder=${encodeURIComponent(workspace)}`);
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

try {
  await start();
} catch (error) {
  console.error(`npm start: ${error.message}`);
  process.exit(1);
}
