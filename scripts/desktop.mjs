// The desktop VS Code for `npm run test:desktop`: the one that DOTA_VSCODE names, the one whose `code` is
// on the PATH, or a downloaded one (@vscode/test-electron, kept in .vscode-test/).
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';

/** The program behind a `code` script on Linux: `/usr/share/code/bin/code` starts `/usr/share/code/code`. */
function programOf(script) {
  const real = realpathSync(script);
  const program = path.join(path.dirname(path.dirname(real)), 'code');
  return program !== real && existsSync(program) ? program : undefined;
}

function installed() {
  const named = process.env.DOTA_VSCODE;
  if (named !== undefined && named !== '') {
    if (existsSync(named)) return named;
    throw new Error(`DOTA_VSCODE names ${named}, which does not exist.`);
  }
  const scripts = (process.env.PATH ?? '')
    .split(path.delimiter)
    .filter((folder) => path.isAbsolute(folder))
    .map((folder) => path.join(folder, 'code'))
    .filter((script) => existsSync(script));
  return scripts.map(programOf).find((program) => program !== undefined);
}

/**
 * @returns the absolute path of VS Code's program
 * @throws Error why none can be had here
 */
export async function findDesktopVsCode() {
  if (process.platform !== 'linux')
    throw new Error('The suite looks at processes under /proc and so needs Linux.');
  if (!process.env.DISPLAY && !process.env.WAYLAND_DISPLAY)
    throw new Error('There is no display; run it with `xvfb-run -a npm run test:desktop`.');
  const program = installed();
  if (program !== undefined) return program;
  const { downloadAndUnzipVSCode } = await import('@vscode/test-electron');
  try {
    return await downloadAndUnzipVSCode({
      version: 'stable',
      cachePath: path.resolve('.vscode-test'),
      timeout: 30_000,
    });
  } catch (error) {
    throw new Error(
      `No VS Code is installed here and downloading one failed (${error.message}). ` +
        'Install VS Code, or name its program in DOTA_VSCODE.',
      { cause: error },
    );
  }
}
