/** Reports in Markdown, shown as documents of their own that end with the window. */
import { commands, Uri, workspace, type ExtensionContext } from 'vscode';

export class MarkdownReports {
  private readonly reports = new Map<string, string>();

  /** @param scheme of the documents' addresses; one for each kind of report */
  constructor(
    private readonly scheme: string,
    extension: ExtensionContext,
  ) {
    extension.subscriptions.push(
      workspace.registerTextDocumentContentProvider(scheme, {
        provideTextDocumentContent: (uri) => this.reports.get(uri.path) ?? 'This report is gone.',
      }),
    );
  }

  /** Keeps a report and opens it. @param title of its tab; reports of one title are numbered */
  async show(title: string, markdown: string): Promise<void> {
    const path = `/${title} ${this.reports.size + 1}.md`;
    this.reports.set(path, markdown);
    await commands.executeCommand('markdown.showPreview', Uri.from({ scheme: this.scheme, path }));
  }
}
