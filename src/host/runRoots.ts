/** The folders that hold run folders: of each workspace folder, and those where a run was started. */
import path from 'node:path';
import type { Memento } from 'vscode';

const stateKey = 'runRoots';
const maxRemembered = 20;

export class RunRoots {
  constructor(
    private readonly state: Memento,
    private readonly workspaceFolders: () => readonly string[],
    /** Used where no folder is open. */
    private readonly fallback: () => string,
  ) {}

  list(): readonly string[] {
    const folders = this.workspaceFolders();
    const standard = folders.map((folder) => path.join(folder, '.dota', 'runs'));
    const base = standard.length > 0 ? standard : [this.fallback()];
    return [...new Set([...base, ...this.remembered()])];
  }

  /** A configuration may lie in a subfolder, or name another output folder. */
  remember(root: string): void {
    if (this.list().includes(root)) return;
    void this.state.update(stateKey, [root, ...this.remembered()].slice(0, maxRemembered));
  }

  private remembered(): string[] {
    return this.state.get<string[]>(stateKey, []);
  }
}
