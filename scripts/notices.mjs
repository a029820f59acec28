// The third-party notices of a package: every npm package whose code is in a bundle, and the native
// libraries that are staged beside the trainer.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

const mit = (holder) => `MIT License

Copyright (c) ${holder}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN
NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY,
WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

/** Packages that ship no licence file of their own, by who holds the copyright. */
const holders = {
  'onnxruntime-node': 'Microsoft Corporation',
  'onnxruntime-common': 'Microsoft Corporation',
};

/** Native libraries inside onnxruntime-node that come under terms of their own. */
const nativeLibraries = {
  'DirectML.dll':
    'DirectML, Copyright (c) Microsoft Corporation. Redistributed as part of onnxruntime-node under\nthe Microsoft.AI.DirectML licence: https://www.nuget.org/packages/Microsoft.AI.DirectML/',
  'dxcompiler.dll':
    'DirectX Shader Compiler, Copyright (c) Microsoft Corporation and LLVM contributors. University of\nIllinois Open Source License: https://github.com/microsoft/DirectXShaderCompiler/blob/main/LICENSE.TXT',
  'dxil.dll':
    'DXIL signing library, Copyright (c) Microsoft Corporation. Redistributed with the DirectX Shader\nCompiler: https://github.com/microsoft/DirectXShaderCompiler/releases',
};

function authorOf(manifest) {
  const { author } = manifest;
  const name = typeof author === 'string' ? author : author?.name;
  return name?.replace(/\s*[<(].*$/, '') ?? `the authors of ${manifest.name}`;
}

function licenceText(folder, manifest) {
  const file = readdirSync(folder).find((name) => /^(licen[cs]e|copying)(\.|$|-)/i.test(name));
  if (file !== undefined) return readFileSync(path.join(folder, file), 'utf8').trim();
  const holder = holders[manifest.name];
  if (manifest.license === 'MIT') return mit(holder ?? authorOf(manifest));
  if (manifest.license === 'CC-BY-4.0')
    return 'Creative Commons Attribution 4.0 International: https://creativecommons.org/licenses/by/4.0/legalcode';
  if (manifest.license === 'Apache-2.0')
    return 'Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0';
  throw new Error(`${manifest.name} has no licence file and no known licence`);
}

/**
 * @param modules the node_modules folder
 * @param packages names of the packages that are shipped
 * @param files names of staged native files
 */
export function noticesText(modules, packages, files) {
  const parts = [...new Set(packages)].sort().map((name) => {
    const folder = path.join(modules, name);
    const manifest = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
    const repository = manifest.repository?.url ?? manifest.repository ?? manifest.homepage ?? '';
    const notice = path.join(folder, 'NOTICE');
    return [
      `${name} ${manifest.version} (${manifest.license})`,
      String(repository).replace(/^git\+/, ''),
      '',
      licenceText(folder, manifest),
      ...(existsSync(notice) ? ['', readFileSync(notice, 'utf8').trim()] : []),
    ].join('\n');
  });
  const native = files
    .filter((name) => name in nativeLibraries)
    .map((name) => nativeLibraries[name]);
  const rule = `\n\n${'-'.repeat(80)}\n\n`;
  return `Third-party software in this package\n\n${[...parts, ...native].join(rule)}\n`;
}
