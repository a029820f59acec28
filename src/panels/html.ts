/** The document of a webview panel. Everything is denied but our own script, styles, fonts and images. */
import { randomBytes } from 'node:crypto';

export interface PanelDocument {
  title: string;
  /** The webview's own source expression for a Content Security Policy. */
  cspSource: string;
  scriptUri: string;
  styleUri: string;
  nonce: string;
}

export function newNonce(): string {
  return randomBytes(18).toString('base64url');
}

/**
 * `connect-src` stays closed: a panel talks to the host by messages alone. `data:` and `blob:` images
 * are what a canvas exports.
 */
export function panelHtml(document: PanelDocument): string {
  const { cspSource, nonce } = document;
  const policy = [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src ${cspSource} 'nonce-${nonce}'`,
    `font-src ${cspSource}`,
    `img-src ${cspSource} data: blob:`,
  ].join('; ');
  return `<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta http-equiv="Content-Security-Policy" content="${escapeHtml(policy)}" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <link rel="stylesheet" id="vscode-codicon-stylesheet" nonce="${nonce}" href="${escapeHtml(document.styleUri)}" />
    <title>${escapeHtml(document.title)}</title>
  </head>
  <body>
    <script nonce="${nonce}" src="${escapeHtml(document.scriptUri)}"></script>
  </body>
</html>`;
}

export function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (c) => entities[c] ?? c);
}
