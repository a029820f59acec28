/** The only reader of the editor's settings. */
import { ConfigurationTarget, workspace } from 'vscode';
import { settingKeys } from '../commands/ids';
import type { DecomposeOptions } from '../protocol/explorerPanel';

export type OnWindowClose = 'keep' | 'checkpointAndStop';

function read<T>(key: string, fallback: T): T {
  return workspace.getConfiguration().get<T>(key, fallback);
}

export const settings = {
  nodePath: (): string => read(settingKeys.nodePath, '').trim(),
  onWindowClose: (): OnWindowClose =>
    read<string>(settingKeys.onWindowClose, 'keep') === 'checkpointAndStop'
      ? 'checkpointAndStop'
      : 'keep',
  notifyOnEnd: (): boolean => read(settingKeys.notifyOnEnd, true),
  tensorboard: (): boolean => read(settingKeys.tensorboard, false),
  modelFolders: (): readonly string[] => {
    const folders: unknown = read<unknown>(settingKeys.modelFolders, []);
    return Array.isArray(folders) ? folders.filter((f) => typeof f === 'string') : [];
  },
  /** What is decomposed when nothing else is said. */
  decomposeOptions: (): DecomposeOptions => ({
    cores: read(settingKeys.decomposeCores, 3),
    rule: 'rank',
    value: read(settingKeys.decomposeRank, 8),
    orientation: 'out',
    shapes: {},
    exactMiddle: false,
  }),

  /** Saved for the workspace where there is one, else for the user. */
  async setModelFolders(folders: readonly string[]): Promise<void> {
    const target =
      workspace.workspaceFolders === undefined
        ? ConfigurationTarget.Global
        : ConfigurationTarget.Workspace;
    await workspace.getConfiguration().update(settingKeys.modelFolders, [...folders], target);
  },
};
