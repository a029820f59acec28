// Writes media/dota.schema.json, the JSON schema of *.dota.json, from the zod schema that the trainer
// validates with. `--check` only compares.
import { build } from 'esbuild';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const target = path.join(root, 'media/dota.schema.json');

/** The schema as the committed file has it. */
export async function schemaText() {
  const { outputFiles } = await build({
    stdin: {
      contents: `
        import * as z from 'zod';
        import { runConfigSchema } from './src/config/runConfig';
        export const schema = z.toJSONSchema(runConfigSchema, { io: 'input', target: 'draft-7' });`,
      resolveDir: root,
      loader: 'ts',
    },
    absWorkingDir: root,
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    logLevel: 'warning',
  });
  const source = Buffer.from(outputFiles[0].contents).toString('base64');
  const { schema } = await import(`data:text/javascript;base64,${source}`);
  const { $schema, ...rest } = schema;
  return format(JSON.stringify({ $schema, title: 'DoTA run', ...rest }), {
    parser: 'json',
    printWidth: 100,
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = await schemaText();
  if (!process.argv.includes('--check')) writeFileSync(target, text);
  else if (readFileSync(target, 'utf8') !== text) {
    console.error('media/dota.schema.json is out of date: run `npm run schema`.');
    process.exit(1);
  }
}
