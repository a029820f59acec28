// Builds every bundle: the extension host, the trainer (child, worker and command line share one
// folder) and one script a webview. `--watch` rebuilds on change.
import { build, context } from 'esbuild';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';

const watch = process.argv.includes('--watch');
const production = process.argv.includes('--production');
const common = {
  bundle: true,
  minify: production,
  sourcemap: production ? false : 'linked',
  logLevel: 'warning',
};
const node = {
  ...common,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  // Its CommonJS form loads its parts in a way that no bundler follows.
  alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
};

const webviews = (existsSync('webview') ? readdirSync('webview', { withFileTypes: true }) : [])
  .filter((e) => e.isDirectory() && existsSync(`webview/${e.name}/main.ts`))
  .map((e) => e.name);

const targets = [
  existsSync('src/extension.ts') && {
    ...node,
    entryPoints: { extension: 'src/extension.ts' },
    external: ['vscode'],
    outdir: 'dist',
  },
  existsSync('src/trainer/cli.ts') && {
    ...node,
    entryPoints: { cli: 'src/trainer/cli.ts', worker: 'src/trainer/worker.ts' },
    external: ['onnxruntime-node'],
    outdir: 'dist/trainer',
  },
  webviews.length > 0 && {
    ...common,
    platform: 'browser',
    target: 'es2022',
    format: 'iife',
    entryPoints: Object.fromEntries(webviews.map((name) => [name, `webview/${name}/main.ts`])),
    loader: { '.ttf': 'file', '.css': 'css' },
    outdir: 'dist/webview',
  },
].filter(Boolean);

/** Packages whose code went into a bundle, for the third-party notices. */
const bundled = new Set();
for (const options of targets) {
  if (watch) {
    await (await context(options)).watch();
    continue;
  }
  const { metafile } = await build({ ...options, metafile: true });
  for (const input of Object.keys(metafile.inputs)) {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name !== undefined) bundled.add(name);
  }
}
if (!watch) {
  mkdirSync('.cache', { recursive: true });
  writeFileSync('.cache/bundled-packages.json', JSON.stringify([...bundled].sort()));
}
