/** The configuration in view, as the editor tells it. */
import { TabInputText, TabInputTextDiff, window, type Uri } from 'vscode';
import { configInView } from './configInView';

/** The `*.dota.json` that the user sees, if it is one. */
export function activeConfig(): Uri | undefined {
  const input = window.tabGroups.activeTabGroup.activeTab?.input;
  const tab =
    input instanceof TabInputText
      ? input.uri
      : input instanceof TabInputTextDiff
        ? input.modified
        : undefined;
  return configInView(tab, window.activeTextEditor?.document.uri);
}
