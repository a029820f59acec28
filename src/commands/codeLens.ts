/** The line above a configuration's first brace that runs it. */
import { CodeLens, Range, type CodeLensProvider, type TextDocument } from 'vscode';

export class ConfigCodeLens implements CodeLensProvider {
  constructor(private readonly command: string) {}

  provideCodeLenses(document: TextDocument): CodeLens[] {
    return [
      new CodeLens(new Range(0, 0, 0, 0), {
        title: '$(play) Fine-tune',
        tooltip: 'Run this configuration',
        command: this.command,
        arguments: [document.uri],
      }),
    ];
  }
}
