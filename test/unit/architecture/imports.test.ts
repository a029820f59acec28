/** The laws of ARCHITECTURE.md that can be read off the source: who imports whom, and how. */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse, readSources, type Import, type SourceFile } from './sourceFiles';

const ownCode = readSources(['src', ...(existsSync('webview') ? ['webview'] : [])]);

/**
 * Layer -> layers that it may import besides itself. A layer is the folder under src; the webview is
 * one layer; `extension.ts` stands for itself.
 */
const mayImport: Record<string, readonly string[]> = {
  protocol: [],
  core: ['protocol'],
  config: ['protocol'],
  graph: ['protocol', 'core', 'models'],
  models: ['protocol', 'core'],
  data: ['protocol', 'core', 'config', 'models'],
  adapters: ['protocol', 'core', 'config', 'graph', 'models'],
  decompose: ['protocol', 'core', 'models'],
  estimate: ['protocol', 'core', 'config', 'graph', 'models', 'adapters'],
  evaluation: [],
  compare: ['protocol', 'evaluation'],
  study: [
    'protocol',
    'core',
    'config',
    'graph',
    'models',
    'adapters',
    'evaluation',
    'compare',
    'runs',
  ],
  runs: ['protocol', 'core', 'config', 'compare'],
  export: ['protocol', 'core', 'config', 'graph', 'models', 'adapters', 'runs'],
  trainer: [
    ...['protocol', 'core', 'config', 'graph', 'models', 'data', 'adapters', 'decompose'],
    ...['estimate', 'evaluation', 'runs', 'export', 'compare', 'study'],
  ],
  webview: ['protocol', 'compare'],
};
/** Parts of one layer, the extension host: they may use each other, as long as no cycle arises. */
const editorLayers = ['host', 'commands', 'views', 'panels', 'extension.ts'];
for (const part of editorLayers) {
  mayImport[part] = [
    ...['protocol', 'core', 'config', 'models', 'evaluation', 'runs', 'compare', 'study'],
    ...editorLayers,
  ];
}
/** Pure computation: no file system, no processes, no network. */
const pureLayers = ['protocol', 'core', 'graph', 'compare'];

function layerOf(file: string): string {
  const [top, second] = file.split('/');
  return top === 'src' ? second! : top!;
}

/** Violations as lines that name the file, so that the failing test says what to change. */
function violations(test: (file: SourceFile) => readonly string[]): string[] {
  return ownCode.flatMap((file) => test(file).map((what) => `${file.path}: ${what}`));
}

/** Packages and modules of Node that come with a file, through whatever it imports. */
function reached(entry: string, follow: (found: Import) => boolean = () => true): string[] {
  const files = new Map(ownCode.map((file) => [file.path.replace(/\.tsx?$/, ''), file]));
  const packages = new Set<string>();
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const found of files.get(path)?.imports ?? []) {
      if (found.typeOnly || !follow(found)) continue;
      if (found.target === undefined) packages.add(found.specifier);
      else visit(found.target);
    }
  };
  visit(entry);
  return [...packages];
}

describe('imports', () => {
  it('finds the code it is to judge', () => {
    expect(ownCode.length).toBeGreaterThan(5);
    expect(ownCode.some((file) => file.imports.length > 0)).toBe(true);
  });

  it('knows every layer', () => {
    const unknown = ownCode.map((f) => layerOf(f.path)).filter((layer) => !(layer in mayImport));
    expect([...new Set(unknown)]).toEqual([]);
  });

  it('go one way between the layers', () => {
    expect(
      violations((file) => {
        const layer = layerOf(file.path);
        const allowed = [layer, ...(mayImport[layer] ?? [])];
        return file.imports
          .filter(({ target }) => target !== undefined && !allowed.includes(layerOf(target)))
          .map(({ specifier }) => `${layer} must not import ${specifier}`);
      }),
    ).toEqual([]);
  });

  it('form no cycle between files', () => {
    expect(cycleIn(ownCode)).toBeUndefined();
  });

  it('take vscode only into the editor’s layers', () => {
    expect(
      violations((file) =>
        file.imports
          .filter(({ specifier }) => specifier === 'vscode')
          .filter(() => !editorLayers.includes(layerOf(file.path)))
          .map(() => 'imports vscode'),
      ),
    ).toEqual([]);
  });

  it('take onnxruntime-node only into the trainer', () => {
    expect(
      violations((file) =>
        file.imports
          .filter(({ specifier }) => specifier.startsWith('onnxruntime'))
          .filter(() => layerOf(file.path) !== 'trainer')
          .map(({ specifier }) => `imports ${specifier}`),
      ),
    ).toEqual([]);
  });

  it('reach the interpreter of chat templates from the trainer, and never from the editor', () => {
    expect(reached('src/trainer/cli')).toContain('@huggingface/jinja');
    const editor = reached('src/extension');
    expect(editor).toContain('vscode');
    expect(editor).not.toContain('@huggingface/jinja');
  });

  it('load no package with the extension, which each come with their first use', () => {
    const packages = (imports: string[]): string[] =>
      imports.filter((name) => name !== 'vscode' && !name.startsWith('node:')).sort();
    expect(packages(reached('src/extension'))).toEqual(['jsonc-parser', 'zod']);
    expect(packages(reached('src/extension', (found) => !found.dynamic))).toEqual([]);
  });

  it('keep node’s modules and packages out of the pure layers', () => {
    expect(
      violations((file) =>
        pureLayers.includes(layerOf(file.path))
          ? file.imports
              .filter(({ target }) => target === undefined)
              .map(({ specifier }) => `imports ${specifier}`)
          : [],
      ),
    ).toEqual([]);
  });

  it('stay relative within the repository and resolve to a file', () => {
    expect(
      violations((file) =>
        file.imports
          .filter(({ target }) => target !== undefined)
          .filter(({ target }) => !/\.(css|json|ttf)$/.test(target!))
          .filter(({ target }) => !existsSync(`${target!}.ts`) && !existsSync(`${target!}.tsx`))
          .map(({ specifier }) => `imports ${specifier}, which is no file`),
      ),
    ).toEqual([]);
  });
});

describe('files', () => {
  it('have at most 500 lines', () => {
    expect(
      violations((file) => {
        const lines = file.text.split('\n').length - 1;
        return lines > 500 ? [`${String(lines)} lines`] : [];
      }),
    ).toEqual([]);
  });

  it('have no default exports and pass nothing on (no barrels)', () => {
    expect(
      violations((file) => [
        ...(file.exportsDefault ? ['default export'] : []),
        ...(file.reexports ? ['re-export'] : []),
      ]),
    ).toEqual([]);
  });

  it('do without `any` in the protocol', () => {
    expect(
      violations((file) =>
        layerOf(file.path) === 'protocol' && /(:|<|\bas)\s*any\b/.test(file.text) ? ['any'] : [],
      ),
    ).toEqual([]);
  });
});

describe('the reading of source files', () => {
  it('sees every form of import and export that the laws are about', () => {
    const file = parse(
      'src/core/a.ts',
      [
        "import type { A } from '../protocol/errors';",
        "import { type B, c } from './b';",
        "export * from '../models/d';",
        "const e = await import('vscode');",
        "type F = import('./f').F;",
        'export default function g(): void {}',
      ].join('\n'),
    );
    expect(file.imports).toEqual([
      {
        specifier: '../protocol/errors',
        target: 'src/protocol/errors',
        typeOnly: true,
        dynamic: false,
      },
      { specifier: './b', target: 'src/core/b', typeOnly: false, dynamic: false },
      { specifier: '../models/d', target: 'src/models/d', typeOnly: false, dynamic: false },
      { specifier: 'vscode', target: undefined, typeOnly: false, dynamic: true },
      { specifier: './f', target: 'src/core/f', typeOnly: true, dynamic: false },
    ]);
    expect(file.exportsDefault).toBe(true);
    expect(file.reexports).toBe(true);
  });

  it('finds a cycle where there is one', () => {
    const files = [
      parse('src/core/a.ts', "import { b } from './b';"),
      parse('src/core/b.ts', "import { c } from './c';"),
      parse('src/core/c.ts', "import { a } from './a';"),
    ];
    expect(cycleIn(files)).toEqual(['src/core/a', 'src/core/b', 'src/core/c', 'src/core/a']);
    expect(cycleIn(files.slice(0, 2))).toBeUndefined();
    const erased = parse('src/core/c.ts', "import type { a } from './a';");
    expect(cycleIn([...files.slice(0, 2), erased])).toBeUndefined();
  });
});

/** The gradient of one operator is made of others (sum and expand are each other's): one unit. */
const isOperator = (name: string): boolean => name.startsWith('src/graph/ops/');

/**
 * Depth-first search over what is imported at run time. Types may refer to each other (a tensor knows
 * its graph, a graph its tensors); within a layer that is harmless, across layers the table forbids it.
 * @returns the first cycle found, closed, or undefined
 */
function cycleIn(files: readonly SourceFile[]): string[] | undefined {
  const byName = new Map(files.map((file) => [file.path.replace(/\.tsx?$/, ''), file]));
  const done = new Set<string>();
  const search = (name: string, trail: readonly string[]): string[] | undefined => {
    if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name];
    const file = byName.get(name);
    if (file === undefined || done.has(name)) return undefined;
    for (const { target, typeOnly } of file.imports) {
      if (typeOnly || (isOperator(name) && isOperator(target ?? ''))) continue;
      const cycle = target === undefined ? undefined : search(target, [...trail, name]);
      if (cycle !== undefined) return cycle;
    }
    done.add(name);
    return undefined;
  };
  for (const name of byName.keys()) {
    const cycle = search(name, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
