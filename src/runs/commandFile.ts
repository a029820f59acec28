/** `command.json`: asks a trainer to stop, pause or resume where sockets don't work. */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import type { CommandFile, TrainerCommand } from '../protocol/runFiles';
import { writeFileAtomic } from './atomicFile';
import type { RunFolder } from './runFolder';

const schema = z.object({
  command: z.enum(['stop', 'pause', 'resume']),
  serial: z.int().min(0),
});

/** The command that stands in the folder, undefined when there is none that can be understood. */
export async function readCommand(folder: RunFolder): Promise<CommandFile | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(folder.command, 'utf8')));
  } catch {
    return undefined;
  }
}

/** Leaves a command for the trainer, which carries it out once. */
export async function writeCommand(folder: RunFolder, command: TrainerCommand): Promise<void> {
  const last = await readCommand(folder);
  await writeFileAtomic(
    folder.command,
    `${JSON.stringify({ command, serial: (last?.serial ?? 0) + 1 } satisfies CommandFile)}\n`,
  );
}

/** Follows the command file; what stood there before the trainer began is not for it. */
export class CommandFollower {
  readonly #folder: RunFolder;
  #serial = 0;

  private constructor(folder: RunFolder, serial: number) {
    this.#folder = folder;
    this.#serial = serial;
  }

  static async start(folder: RunFolder): Promise<CommandFollower> {
    return new CommandFollower(folder, (await readCommand(folder))?.serial ?? 0);
  }

  /** The next command, if one has come. */
  async next(): Promise<TrainerCommand | undefined> {
    const found = await readCommand(this.#folder);
    if (found === undefined || found.serial <= this.#serial) return undefined;
    this.#serial = found.serial;
    return found.command;
  }
}
