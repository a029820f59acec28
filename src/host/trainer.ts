/** The trainer as the editor uses it: the Node it runs on, its commands, its detached runs. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';
import { isObject, isString } from '../protocol/guards';
import type { Environment } from './environment';
import { findNode, type NodeProgram, type NodeSearch } from './findNode';
import {
  runCommand,
  startServer,
  type CommandOptions,
  type CommandResult,
  type ServerHandlers,
  type ServerProcess,
} from './trainerProcess';

export interface TrainerOptions {
  /** dist/trainer/cli.cjs, absolute. */
  entry: string;
  environment: Environment;
  nodePath: () => string;
  /** False in Restricted Mode: nothing is started. */
  trusted: () => boolean;
  log: (message: string) => void;
  /** Told whether a Node was found, for the empty Runs view. */
  onNode: (found: boolean) => void;
}

export class Trainer {
  private found: { setting: string; node: Promise<NodeProgram> } | undefined;

  constructor(private readonly options: TrainerOptions) {}

  /**
   * The Node that trains; looked for once, and again when the setting changed.
   * @throws DotaError `node.missing`, or `usage` in Restricted Mode
   */
  node(again = false): Promise<NodeProgram> {
    const { options } = this;
    if (!options.trusted()) {
      return Promise.reject(
        new DotaError('usage', 'The workspace is in Restricted Mode; nothing is started.', {
          next: 'Trust the workspace first.',
        }),
      );
    }
    const setting = options.nodePath();
    if (this.found === undefined || this.found.setting !== setting || again) {
      const search: NodeSearch = {
        setting,
        environment: options.environment,
        platform: process.platform,
        execPath: process.execPath,
        electron: process.versions.electron,
        trainerEntry: options.entry,
      };
      const node = findNode(search).then(
        (program) => {
          options.log(`Node ${program.version} (${program.source}): ${program.program}`);
          options.onNode(true);
          return program;
        },
        (error: unknown) => {
          this.found = undefined;
          options.onNode(false);
          throw error;
        },
      );
      this.found = { setting, node };
    }
    return this.found.node;
  }

  /** Runs a command of the trainer to its end. @throws DotaError as `runCommand` */
  async command(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    const node = await this.node();
    this.options.log(`dota ${args.join(' ')}`);
    return runCommand(node, this.options.entry, args, this.options.environment, {
      ...options,
      onMessage: (line) => {
        this.options.log(line);
        options.onMessage?.(line);
      },
    });
  }

  /** Starts a command that answers what it is sent. @throws DotaError `node.missing`, `usage` */
  async serve(args: readonly string[], handlers: ServerHandlers): Promise<ServerProcess> {
    const node = await this.node();
    const { log, entry, environment } = this.options;
    log(`dota ${args.join(' ')}`);
    return startServer(node, entry, args, environment, { ...handlers, onMessage: log });
  }

  /**
   * Starts a training that goes on without us.
   * @param args `train <config>` or `train --resume <run folder>`
   * @returns the run folder, absolute
   */
  async start(args: readonly string[], cwd: string): Promise<string> {
    const { json } = await this.command([...args, '--detach'], { cwd });
    if (!isObject(json) || !isString(json.run)) {
      throw new DotaError('protocol.invalid', 'The trainer did not name its run folder.', {
        next: 'The log has what it said.',
      });
    }
    const folder = path.resolve(cwd, json.run);
    return realpath(folder).catch(() => folder);
  }
}
