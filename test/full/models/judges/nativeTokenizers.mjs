// Ids and decoded texts of the native `tokenizers` package for given texts.
// Usage: node nativeTokenizers.mjs PACKAGES TEXTS.json TOKENIZER.json...
// TEXTS: [...]. Prints one object by file: {"FILE": {"ids": [[...]], "decoded": [...], "prefix": [...]}};
// prefix: what the tokenizer itself puts before a text.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

const [packages, input, ...files] = process.argv.slice(2);
const { Tokenizer } = createRequire(path.resolve(packages, 'package.json'))('tokenizers');
const texts = JSON.parse(await readFile(input, 'utf8'));
const result = {};
for (const file of files) {
  const tokenizer = Tokenizer.fromFile(file);
  const encode = async (text, addSpecialTokens) =>
    (await tokenizer.encode(text, null, { addSpecialTokens })).getIds();
  const ids = [];
  const decoded = [];
  for (const text of texts) {
    ids.push(await encode(text, false));
    decoded.push(await tokenizer.decode(ids.at(-1), false));
  }
  const [around, bare] = [await encode('x', true), await encode('x', false)];
  result[file] = { ids, decoded, prefix: around.slice(0, around.length - bare.length) };
}
console.log(JSON.stringify(result));
