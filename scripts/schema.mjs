// Writes media/dota.schema.json and media/dota-study.schema.json, the JSON schemas of *.dota.json and
// *.dota-study.json, from the zod schemas that the trainer validates with. `--check` only compares.
import { build } from 'esbuild';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** By file: module and name of the zod schema, and the title. */
const schemas = {
  'media/dota.schema.json': ['./src/config/runConfig', 'runConfigSchema', 'DoTA run'],
  'media/dota-study.schema.json': ['./src/study/studyConfig', 'studyConfigSchema', 'DoTA study'],
};

/** The schema as the committed file has it. */
export async function schemaText(file = 'media/dota.schema.json') {
  const [module, name, title] = schemas[file];
  const { outputFiles } = await build({
    stdin: {
      contents: `
        import * as z from 'zod';
        import { ${name} as source } from '${module}';
        export const schema = z.toJSONSchema(source, { io: 'input', target: 'draft-7' });`,
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
  return format(JSON.stringify({ $schema, title, ...rest }), {
    parser: 'json',
    printWidth: 100,
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const file of Object.keys(schemas)) {
    const text = await schemaText(file);
    const target = path.join(root, file);
    if (!process.argv.includes('--check')) writeFileSync(target, text);
    else if (readFileSync(target, 'utf8') !== text) {
      console.error(`${file} is out of date: run \`npm run schema\`.`);
      process.exitCode = 1;
    }
  }
}
