/** Starts a trainer that goes on without the process that started it. */
import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { DotaError } from '../../protocol/errors';
import { runFileError } from '../../runs/atomicFile';
import { checkLiveness } from '../../runs/liveness';
import { readManifest } from '../../runs/manifest';
import type { RunFolder } from '../../runs/runFolder';
import { computeEnvironment, withComputeArguments } from '../child/childEnvironment';
import type { TrainerOptions } from '../child/trainerChild';

const startMs = 30_000;

/**
 * Spawns `dota train <folder>` detached and waits until it owns the run, or has ended.
 * @returns the trainer's process id
 * @throws DotaError `protocol.closed` when it ends without having touched the run
 */
export async function startDetached(folder: RunFolder, options: TrainerOptions): Promise<number> {
  const log = await open(folder.log, 'a').catch((cause: unknown) => {
    throw runFileError(cause, folder.log);
  });
  const before = await readManifest(folder);
  const resume = options.resume ? ['--resume'] : [];
  const { microBatch } = options;
  const fewer = microBatch === undefined ? [] : ['--micro-batch', String(microBatch)];
  const script = process.argv[1] ?? '';
  const child = spawn(
    process.execPath,
    [
      ...withComputeArguments(process.execArgv),
      script,
      'train',
      folder.path,
      ...resume,
      ...fewer,
      '--quiet',
    ],
    {
      detached: true,
      windowsHide: true,
      stdio: ['ignore', log.fd, log.fd],
      env: computeEnvironment(process.env),
    },
  );
  let ended: string | undefined;
  child.on('error', (error) => {
    ended = error.message;
  });
  child.on('exit', (code, signal) => {
    ended = `exit ${code ?? signal ?? '?'}`;
  });
  try {
    const deadline = Date.now() + startMs;
    while (Date.now() < deadline) {
      const liveness = await checkLiveness(folder);
      if (liveness.kind === 'alive' && liveness.record.pid === child.pid)
        return liveness.record.pid;
      if (ended !== undefined) {
        // A run can also be over before anybody looked.
        const now = await readManifest(folder);
        if (now.state !== before.state || now.endedAt !== before.endedAt) return child.pid ?? 0;
        throw new DotaError('protocol.closed', `The trainer ended at once (${ended}).`, {
          where: folder.log,
          next: 'The log has its last lines.',
        });
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new DotaError('protocol.timeout', 'The trainer did not start within 30 s.', {
      where: folder.log,
      next: 'The log has its last lines.',
    });
  } finally {
    child.unref();
    await log.close();
  }
}
