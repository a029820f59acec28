/** Shows a run's progress: one line that is redrawn on a terminal, a line now and then elsewhere. */
import type { JournalRow } from '../../protocol/runFiles';
import { megabytesText } from '../../protocol/deviceText';
import { phaseText, type TrainerProgress } from '../../protocol/trainerMessages';
import { duration } from './output';

const plainIntervalMs = 5000;

export class ProgressLine {
  readonly #stream: NodeJS.WriteStream;
  #drawn = false;
  #printedAt = -Infinity;
  #phase = '';

  /** @param stream standard error, so that standard output stays for results */
  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
  }

  progress(progress: TrainerProgress): void {
    const text = textOf(progress);
    if (this.#stream.isTTY) {
      // Some terminals do not know their width and say 0.
      const width = Math.max(20, (this.#stream.columns || 80) - 1);
      this.#stream.write(`\r\x1b[2K${text.slice(0, width)}`);
      this.#drawn = true;
      return;
    }
    const now = performance.now();
    const newPhase = progress.phase !== this.#phase && progress.phase !== 'training';
    const done = progress.step === progress.totalSteps && progress.step > 0;
    if (!newPhase && !done && now - this.#printedAt < plainIntervalMs) return;
    this.#phase = progress.phase;
    this.#printedAt = now;
    this.#stream.write(`${text}\n`);
  }

  row(row: JournalRow): void {
    switch (row.kind) {
      case 'eval':
        this.line(`step ${row.step}: validation loss ${row.loss.toFixed(4)}`);
        return;
      case 'message':
        this.line(`${row.level}: ${row.text}`);
        return;
      case 'step':
      case 'checkpoint':
      case 'resume':
      case 'state':
        return;
    }
  }

  /** A line of its own above the progress. */
  line(text: string): void {
    this.end();
    this.#stream.write(`${text}\n`);
  }

  /** Leaves the terminal at the start of an empty line. */
  end(): void {
    if (this.#drawn) this.#stream.write('\r\x1b[2K');
    this.#drawn = false;
  }
}

function textOf(progress: TrainerProgress): string {
  const { phase, step, totalSteps, loss, tokensPerSecond, secondsLeft, deviceMb, rssMb } = progress;
  if (phase !== 'training') {
    const at = totalSteps > 0 ? ` (step ${step}/${totalSteps})` : '';
    return `${phaseText(progress)}${at}`;
  }
  const parts = [
    `step ${step}/${totalSteps}`,
    loss === undefined ? '' : `loss ${loss.toFixed(4)}`,
    tokensPerSecond === undefined ? '' : `${Math.round(tokensPerSecond)} tokens/s`,
    // A narrow terminal cuts off what comes last.
    secondsLeft === undefined ? '' : `${duration(secondsLeft)} left`,
    deviceMb === undefined ? '' : `GPU ${megabytesText(deviceMb)}`,
    rssMb === undefined ? '' : `RAM ${megabytesText(rssMb)}`,
  ];
  return parts.filter((part) => part !== '').join(' · ');
}
