/** What the main thread writes about a run: journal, manifest, log, event files. */
import { appendFileSync } from 'node:fs';
import type { SerializedError } from '../../protocol/errors';
import type { JournalRow, RunManifest, RunState } from '../../protocol/runFiles';
import { JournalWriter, type NewRow } from '../../runs/journalWriter';
import { readManifest, writeManifest } from '../../runs/manifest';
import type { RunFolder } from '../../runs/runFolder';
import { TensorBoardWriter } from '../../runs/tensorboard';
import { peakRssMb } from '../peakMemory';
import type { RunFacts } from '../training/workerMessages';

/** Progress in the manifest may be this old; the journal is exact. */
const manifestIntervalMs = 3000;

export class RunRecord {
  readonly #folder: RunFolder;
  readonly #journal: JournalWriter;
  readonly #tensorboard: TensorBoardWriter | undefined;
  #manifest: RunManifest;
  #writing: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  /** From the first facts on: before, this process's memory says nothing of the run. */
  #computes = false;

  constructor(folder: RunFolder, manifest: RunManifest, options: { tensorboard: boolean }) {
    this.#folder = folder;
    this.#manifest = manifest;
    this.#journal = new JournalWriter(folder.journal);
    this.#tensorboard = options.tensorboard ? new TensorBoardWriter(folder.tensorboard) : undefined;
  }

  get manifest(): RunManifest {
    return this.#manifest;
  }

  get state(): RunState {
    return this.#manifest.state;
  }

  get journalBytes(): number {
    return this.#journal.bytes;
  }

  /** @throws DotaError `file.diskFull`, `file.unreadable` */
  append(row: NewRow): JournalRow {
    const written = this.#journal.append(row);
    if (written.kind === 'step') {
      if (written.deviceMb !== undefined) {
        const peakDeviceMb = Math.max(this.#manifest.peakDeviceMb ?? 0, written.deviceMb);
        this.#manifest = { ...this.#manifest, peakDeviceMb };
      }
      this.#tensorboard?.scalars(written.step, {
        'train/loss': written.loss,
        'train/learning_rate': written.learningRate,
        'train/grad_norm': written.gradNorm,
        'train/tokens_per_second': written.tokensPerSecond,
      });
    } else if (written.kind === 'eval') {
      this.#tensorboard?.scalars(written.step, { 'eval/loss': written.loss });
    }
    return written;
  }

  /** Makes the journal durable. */
  sync(): void {
    this.#journal.sync();
  }

  log(text: string): void {
    const time = new Date().toISOString();
    try {
      appendFileSync(this.#folder.log, `${time} ${text}\n`);
    } catch {
      // A log that cannot be written must not end the run that it tells about.
    }
  }

  /** Takes facts over; they reach the manifest within a few seconds. */
  update(facts: RunFacts): void {
    const last =
      facts.last === undefined ? {} : { last: { ...this.#manifest.last, ...facts.last } };
    this.#manifest = {
      ...this.#manifest,
      ...facts,
      ...last,
    };
    this.#computes = true;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.write().catch((error: unknown) => {
        this.log(`The manifest could not be written: ${String(error)}`);
      });
    }, manifestIntervalMs);
  }

  /** Enters a state: a row of the journal, and the manifest at once. */
  async enter(state: RunState, error?: SerializedError): Promise<void> {
    const at = new Date().toISOString();
    const active = state === 'running' || state === 'paused';
    const next = { ...this.#manifest, state };
    // What an earlier process ended with is past.
    delete next.error;
    delete next.endedAt;
    if (active) next.startedAt ??= at;
    else next.endedAt = at;
    if (error !== undefined) next.error = error;
    this.#manifest = next;
    this.log(error === undefined ? state : `${state}: ${error.message}`);
    await this.write();
    this.append({ kind: 'state', state, at, ...(error === undefined ? {} : { error }) });
  }

  set timing(timing: NonNullable<RunManifest['timing']>) {
    this.#manifest = { ...this.#manifest, timing };
  }

  /** Writes the manifest; concurrent calls write one after the other. */
  write(): Promise<void> {
    const next = this.#writing.then(async () => {
      // Somebody may have renamed the run meanwhile; the name is the user's, all else is ours.
      const onDisk = await readManifest(this.#folder).catch(() => undefined);
      if (onDisk !== undefined) this.#manifest = { ...this.#manifest, name: onDisk.name };
      if (this.#computes) {
        this.#manifest = { ...this.#manifest, peakRssMb: Math.round(peakRssMb()) };
      }
      await writeManifest(this.#folder, this.#manifest);
    });
    this.#writing = next.catch(() => undefined);
    return next;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#writing;
    this.#journal.close();
    this.#tensorboard?.close();
  }
}
