/** The line above a configuration's first brace that runs it or shows its data. */
import { CodeLens, Range, type CodeLensProvider, type TextDocument } from 'vscode';

export class ConfigCodeLens implements CodeLensProvider {
  constructor(
    private readonly fineTune: string,
    private readonly preview: string,
  ) {}

  provideCodeLenses(document: TextDocument): CodeLens[] {
    return [
      new CodeLens(new Range(0, 0, 0, 0), {
        title: '$(play) Fine-tune',
        tooltip: 'Run this configuration',
        command: this.fineTune,
        arguments: [document.uri],
      }),
      new CodeLens(new Range(0, 0, 0, 0), {
        title: '$(open-preview) Preview Dataset',
        tooltip: 'Show what would be trained on, token by token',
        command: this.preview,
        arguments: [document.uri],
      }),
    ];
  }
}
