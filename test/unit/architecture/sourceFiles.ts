import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

export interface Import {
  /** As written: `../core/mpo/types`, `vscode`. */
  specifier: string;
  /** Repository-relative file without extension for a relative import, else undefined. */
  target: string | undefined;
  /** `import type` and friends, erased on compilation. */
  typeOnly: boolean;
  /** `import('…')`: loaded when that line is reached. */
  dynamic: boolean;
}

export interface SourceFile {
  /** Repository-relative, forward slashes: `src/core/gemm.ts`. */
  path: string;
  text: string;
  imports: Import[];
  exportsDefault: boolean;
  reexports: boolean;
}

const root = path.resolve(import.meta.dirname, '../../..');

/** Every TypeScript file of our own code and what it imports, statically or dynamically. */
export function readSources(folders: readonly string[]): SourceFile[] {
  return folders.flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
      .map((entry) => path.join(entry.parentPath, entry.name))
      .map((file) => parse(path.relative(root, file).split(path.sep).join('/'))),
  );
}

/** Parses one file; `text` is read from the repository unless given (for the test of this helper). */
export function parse(
  file: string,
  text = readFileSync(path.join(root, file), 'utf8'),
): SourceFile {
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const imports: Import[] = [];
  let exportsDefault = false;
  let reexports = false;
  const add = (specifier: string, typeOnly: boolean, dynamic = false): void => {
    const target = specifier.startsWith('.')
      ? path.posix.join(path.posix.dirname(file), specifier).replace(/\.(ts|tsx|js)$/, '')
      : undefined;
    imports.push({ specifier, target, typeOnly, dynamic });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const named = node.importClause?.namedBindings;
      const namedTypes =
        named !== undefined &&
        ts.isNamedImports(named) &&
        node.importClause?.name === undefined &&
        named.elements.length > 0 &&
        named.elements.every((element) => element.isTypeOnly);
      add(node.moduleSpecifier.text, node.importClause?.isTypeOnly === true || namedTypes);
    } else if (
      ts.isExportDeclaration(node) &&
      node.moduleSpecifier !== undefined &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      add(node.moduleSpecifier.text, node.isTypeOnly);
      reexports = true;
    } else if (ts.isExportAssignment(node)) {
      exportsDefault = true;
    } else if (
      ts.isCallExpression(node) &&
      (node.expression.kind === ts.SyntaxKind.ImportKeyword ||
        (ts.isIdentifier(node.expression) && node.expression.text === 'require'))
    ) {
      const [argument] = node.arguments;
      if (argument !== undefined && ts.isStringLiteralLike(argument))
        add(argument.text, false, node.expression.kind === ts.SyntaxKind.ImportKeyword);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      if (ts.isStringLiteral(node.argument.literal)) add(node.argument.literal.text, true);
    }
    if (
      ts.canHaveModifiers(node) &&
      ts.getModifiers(node)?.some((m) => m.kind === ts.SyntaxKind.DefaultKeyword) === true
    ) {
      exportsDefault = true;
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return { path: file, text, imports, exportsDefault, reexports };
}
