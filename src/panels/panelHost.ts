/** Creates webview panels that can load our own bundle and nothing else. */
import { Uri, ViewColumn, window, type WebviewOptions, type WebviewPanel } from 'vscode';
import { newNonce, panelHtml } from './html';

export interface PanelKind {
  viewType: string;
  title: string;
  /** Name of the bundle in dist/webview. */
  bundle: string;
}

function options(extensionUri: Uri): WebviewOptions {
  return {
    enableScripts: true,
    localResourceRoots: [Uri.joinPath(extensionUri, 'dist', 'webview')],
  };
}

export function createPanel(extensionUri: Uri, kind: PanelKind): WebviewPanel {
  const panel = window.createWebviewPanel(
    kind.viewType,
    kind.title,
    ViewColumn.Active,
    options(extensionUri),
  );
  return fill(panel, extensionUri, kind);
}

/** Also used for a panel that the editor restored. */
export function fill(panel: WebviewPanel, extensionUri: Uri, kind: PanelKind): WebviewPanel {
  const { webview } = panel;
  webview.options = options(extensionUri);
  const file = (name: string): string =>
    webview.asWebviewUri(Uri.joinPath(extensionUri, 'dist', 'webview', name)).toString();
  panel.iconPath = Uri.joinPath(extensionUri, 'media', 'icon.png');
  webview.html = panelHtml({
    title: kind.title,
    cspSource: webview.cspSource,
    scriptUri: file(`${kind.bundle}.js`),
    styleUri: file(`${kind.bundle}.css`),
    nonce: newNonce(),
  });
  return panel;
}
