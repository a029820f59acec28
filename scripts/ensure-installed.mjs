// Installs the dependencies when they are missing or older than the lock file, so that each of the
// README's two commands works in a fresh clone.
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, statSync } from 'node:fs';

const marker = 'node_modules/.package-lock.json';
if (!existsSync(marker) || statSync(marker).mtimeMs < statSync('package-lock.json').mtimeMs) {
  // `npm ci` empties the folder first, and so would empty the one that a link leads to, which other
  // working trees may be using.
  if (lstatSync('node_modules', { throwIfNoEntry: false })?.isSymbolicLink()) {
    console.error(
      'node_modules is a link, and what it leads to is missing or older than package-lock.json. ' +
        'Install there, or remove the link and run `npm ci` here.',
    );
    process.exit(1);
  }
  const run = spawnSync('npm', ['ci'], { stdio: 'inherit', shell: process.platform === 'win32' });
  process.exit(run.status ?? 1);
}
