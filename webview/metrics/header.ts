/** The top of the panel: what the leading run is doing, how far it is, and what one can do now. */
import { deviceText, gpuUnusedText } from '../../src/protocol/deviceText';
import type { MetricsViewMessage, RunCommand, RunSummary } from '../../src/protocol/metricsPanel';
import type { RunState } from '../../src/protocol/runFiles';
import { button, h, icon, replaceChildren } from '../shared/dom';
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatInteger,
  formatNumber,
  formatPercent,
} from '../shared/format';
import { secondsLeft, type RunData } from './runData';

/** The peak, and the estimate beside it where it is of this memory. @param peak MB, of the manifest */
function memoryNote(
  peak: number | undefined,
  now: number | undefined,
  estimate: number | undefined,
): string {
  const parts = [
    // The manifest is written more seldom than the journal.
    peak === undefined ? '' : `peak ${formatBytes(Math.max(peak, now ?? 0) * 1e6)}`,
    estimate === undefined ? '' : `(estimate ${formatBytes(estimate * 1e6)})`,
  ];
  return parts.filter((part) => part !== '').join(' ') || 'resident';
}

const stateLooks: Readonly<Record<RunState, readonly [icon: string, label: string]>> = {
  created: ['clock', 'Starting'],
  running: ['play-circle', 'Running'],
  paused: ['debug-pause', 'Paused'],
  stopped: ['debug-stop', 'Stopped'],
  finished: ['pass', 'Finished'],
  failed: ['error', 'Failed'],
  crashed: ['warning', 'Crashed'],
};

const methodNames: Readonly<Record<string, string>> = {
  dota: 'DoTA',
  random_mpo: 'Random MPO',
  mpop: 'MPOP',
  lora: 'LoRA',
  loretta: 'LoRETTA',
  full: 'Full fine-tuning',
};

export function methodName(method: string): string {
  return methodNames[method] ?? method;
}

export function stateIcon(state: RunState): HTMLElement {
  return icon(stateLooks[state][0]);
}

export function stateLabel(state: RunState): string {
  return stateLooks[state][1];
}

const commandLabels: Readonly<
  Record<RunCommand, readonly [label: string, icon: string, hint: string]>
> = {
  stop: ['Stop', 'debug-stop', 'Write a checkpoint and stop; Resume continues from it'],
  pause: ['Pause', 'debug-pause', 'Keep everything in memory and wait'],
  resume: ['Resume', 'debug-continue', 'Continue this run'],
  forceStop: [
    'Force Stop',
    'close',
    'End the trainer at once; work since the last checkpoint is lost',
  ],
};

/** What can be asked of a run in its state. */
export function commandsFor(run: RunSummary): RunCommand[] {
  const force: RunCommand[] = run.unresponsive === true ? ['forceStop'] : [];
  switch (run.state) {
    case 'created':
      return ['stop', ...force];
    case 'running':
      return ['pause', 'stop', ...force];
    case 'paused':
      return ['resume', 'stop', ...force];
    case 'stopped':
    case 'failed':
    case 'crashed':
      return ['resume'];
    case 'finished':
      return [];
  }
}

function tile(
  label: string,
  value: string,
  unit: string,
  note: string,
  title: string,
): HTMLElement {
  return h(
    'div',
    { class: 'tile', attrs: { title } },
    h('dt', { text: label }),
    h(
      'dd',
      {},
      h(
        'div',
        { class: 'value' },
        value,
        unit === '' ? undefined : h('span', { class: 'unit', text: ` ${unit}` }),
      ),
      h('div', { class: 'note', text: note }),
    ),
  );
}

function formatMemory(mb: number | undefined): string {
  return formatBytes(mb === undefined ? undefined : mb * 1e6);
}

function tiles(run: RunSummary, data: RunData): HTMLElement {
  const { steps, evals } = data;
  const last = steps.length - 1;
  const at = (name: Parameters<typeof steps.column>[0]): number | undefined =>
    last < 0 ? undefined : steps.column(name)[last];
  const onGpu = run.device?.kind === 'webgpu';
  const bestTrain = data.trainLoss.best;
  const evalLoss = evals.column('loss');
  const bestEval = data.validationLoss.best;
  return h(
    'dl',
    { class: 'tiles' },
    tile(
      'Training loss',
      formatNumber(at('loss')),
      '',
      bestTrain === undefined ? '' : `best ${formatNumber(bestTrain.value)}`,
      'Mean negative log-likelihood of the last step, nats per unmasked token',
    ),
    tile(
      'Validation loss',
      formatNumber(evals.length === 0 ? undefined : evalLoss[evals.length - 1]),
      '',
      bestEval === undefined
        ? 'not evaluated yet'
        : `best ${formatNumber(bestEval.value)} at step ${formatInteger(evals.column('step')[bestEval.index])}`,
      'Mean negative log-likelihood on the validation split, nats per unmasked token',
    ),
    tile(
      'Learning rate',
      formatNumber(at('learningRate'), 3),
      '',
      'per step',
      'Step size of AdamW at the last step',
    ),
    tile(
      'Gradient norm',
      formatNumber(at('gradNorm'), 3),
      '',
      'L2, before clipping',
      'Global L2 norm over all trainable parameters before clipping',
    ),
    tile(
      'Speed',
      formatInteger(at('tokensPerSecond')),
      'tokens/s',
      `${formatCount(at('tokens'))} tokens seen`,
      'Tokens of the last step over its time',
    ),
    tile(
      'Memory',
      formatMemory(at('rssMb')),
      '',
      memoryNote(run.peakRssMb, at('rssMb'), onGpu ? undefined : run.estimate?.peakRssMb),
      onGpu
        ? 'Resident memory of the trainer process; the run’s tensors are on the GPU'
        : 'Resident memory of the trainer process, and what was expected before the first step',
    ),
    onGpu &&
      tile(
        'GPU memory',
        formatMemory(at('deviceMb')),
        '',
        memoryNote(run.peakDeviceMb, at('deviceMb'), run.estimate?.peakRssMb),
        'In use on the GPU: what its driver counts, else what the trainer holds there; ' +
          'and what was expected before the first step',
      ),
    run.trainable === undefined
      ? undefined
      : tile(
          'Trainable',
          formatCount(run.trainable.parameters),
          '',
          `${formatPercent(run.trainable.fraction)} of the model`,
          `${formatInteger(run.trainable.parameters)} parameters are trained`,
        ),
  );
}

function progress(run: RunSummary, data: RunData): HTMLElement | undefined {
  const p = run.progress;
  const doing = run.activity === undefined ? undefined : h('span', { text: run.activity });
  if (p === undefined) return doing && h('div', { class: 'progress-text' }, doing);
  const bar = h('div', { class: 'progress-bar' });
  const share = p.totalSteps > 0 ? Math.min(1, p.step / p.totalSteps) : 0;
  bar.style.transform = `scaleX(${share})`;
  // A trainer that does not answer may not be stepping: no promise then.
  const stepping = run.state === 'running' && run.unresponsive !== true;
  const left = stepping ? secondsLeft(data, p.totalSteps) : undefined;
  const { steps } = data;
  const elapsed = steps.length === 0 ? undefined : steps.column('elapsed')[steps.length - 1];
  const words = [
    `Step ${formatInteger(p.step)} of ${formatInteger(p.totalSteps)} (${formatPercent(share, 2)})`,
    `epoch ${formatNumber(p.epoch, 3)}`,
    elapsed === undefined ? undefined : `${formatDuration(elapsed)} of training`,
    left === undefined ? undefined : `about ${formatDuration(left)} left`,
  ];
  return h(
    'div',
    { class: 'progress' },
    h(
      'div',
      {
        class: 'progress-track',
        attrs: {
          role: 'progressbar',
          'aria-label': 'Training steps',
          'aria-valuemin': 0,
          'aria-valuemax': p.totalSteps,
          'aria-valuenow': p.step,
        },
      },
      bar,
    ),
    h(
      'div',
      { class: 'progress-text' },
      doing,
      ...words.map((w) => (w === undefined ? undefined : h('span', { text: w }))),
    ),
  );
}

function trouble(
  run: RunSummary,
  log: readonly string[] | undefined,
  post: (message: MetricsViewMessage) => void,
): HTMLElement | undefined {
  if (run.state !== 'failed' && run.state !== 'crashed') return undefined;
  const message =
    run.error?.message ??
    (run.state === 'crashed'
      ? 'The trainer ended without a word: its process is gone.'
      : 'The run failed.');
  const next = run.error?.next ?? 'Resume continues from the last good checkpoint.';
  const pre = h('pre', {
    class: 'log',
    attrs: { tabindex: 0, 'aria-label': 'Last lines of the log' },
  });
  if (log !== undefined) pre.textContent = log.join('\n');
  return h(
    'div',
    { class: 'notice error', attrs: { role: 'alert' } },
    icon('error'),
    h(
      'div',
      { class: 'body' },
      h('div', {}, h('strong', { text: message })),
      run.error?.where === undefined
        ? undefined
        : h('div', { class: 'small', text: run.error.where }),
      h('div', { text: next }),
      log === undefined || log.length === 0 ? undefined : pre,
      h(
        'div',
        { class: 'actions' },
        button(
          'Open Log',
          () => {
            post({ type: 'open', runId: run.id, what: 'log' });
          },
          { icon: 'output' },
        ),
      ),
    ),
  );
}

export class Header {
  readonly element = h('header', { class: 'run-header' });
  private built = '';
  private asked: { command: RunCommand; state: RunState } | undefined;
  private readonly live = h('div', { class: 'run-header' });

  constructor(private readonly post: (message: MetricsViewMessage) => void) {}

  update(run: RunSummary, data: RunData, log: readonly string[] | undefined): void {
    if (this.asked !== undefined && this.asked.state !== run.state) this.asked = undefined;
    // Controls keep their focus: they are rebuilt only when something about them changed.
    const signature = JSON.stringify([
      run.id,
      run.name,
      run.state,
      run.method,
      run.model,
      run.device,
      run.error,
      run.changedSettings,
      run.controlDisabledReason,
      run.unresponsive,
      log,
      this.asked,
    ]);
    if (signature !== this.built) {
      this.built = signature;
      replaceChildren(
        this.element,
        this.titleRow(run),
        this.facts(run),
        this.unused(run),
        this.live,
        trouble(run, log, this.post),
        this.changes(run),
      );
    }
    replaceChildren(this.live, progress(run, data), tiles(run, data));
  }

  private titleRow(run: RunSummary): HTMLElement {
    const actions = h('div', { class: 'actions' });
    for (const command of commandsFor(run)) {
      const [label, iconName, hint] = commandLabels[command];
      const pending = this.asked?.command === command;
      const b = button(
        pending ? `${label}…` : label,
        () => {
          this.asked = { command, state: run.state };
          this.post({ type: 'command', runId: run.id, command });
          for (const other of actions.querySelectorAll('button')) other.disabled = true;
        },
        {
          icon: iconName,
          kind: command === 'resume' ? 'primary' : 'secondary',
          title: run.controlDisabledReason ?? hint,
        },
      );
      b.disabled = this.asked !== undefined || run.controlDisabledReason !== undefined;
      actions.append(b);
    }
    actions.append(
      button(
        'Open Log',
        () => {
          this.post({ type: 'open', runId: run.id, what: 'log' });
        },
        { icon: 'output', kind: 'tool', title: 'Open Log' },
      ),
      button(
        'Open Configuration',
        () => {
          this.post({ type: 'open', runId: run.id, what: 'config' });
        },
        { icon: 'settings-gear', kind: 'tool', title: 'Open Configuration' },
      ),
      button(
        'Reveal Run Folder',
        () => {
          this.post({ type: 'open', runId: run.id, what: 'folder' });
        },
        { icon: 'folder-opened', kind: 'tool', title: 'Reveal Run Folder' },
      ),
    );
    return h(
      'div',
      { class: 'title-row' },
      h('h1', { text: run.name }),
      h('span', { class: `badge state-${run.state}` }, stateIcon(run.state), stateLabel(run.state)),
      run.unresponsive === true &&
        h('span', { class: 'badge' }, icon('warning'), 'Trainer does not answer'),
      actions,
    );
  }

  private facts(run: RunSummary): HTMLElement {
    const facts = [
      methodName(run.method),
      `model ${run.model}`,
      run.device && deviceText(run.device),
      run.controlDisabledReason,
    ];
    return h(
      'div',
      { class: 'facts' },
      ...facts.map((fact) => (fact === undefined ? undefined : h('span', { text: fact }))),
    );
  }

  /** A sentence and more: a line of its own. */
  private unused(run: RunSummary): HTMLElement | undefined {
    const text = run.device && gpuUnusedText(run.device);
    return text === undefined
      ? undefined
      : h('div', { class: 'facts', text: text.replace(/^t/, 'T') });
  }

  private changes(run: RunSummary): HTMLElement | undefined {
    const n = run.changedSettings.length;
    if (n === 0) return undefined;
    return h(
      'details',
      { class: 'changes' },
      h('summary', {
        text:
          n === 1 ? '1 setting differs from the default' : `${n} settings differ from the default`,
      }),
      h(
        'dl',
        {},
        ...run.changedSettings.flatMap((s) => [
          h('dt', { text: s.key }),
          h('dd', {}, s.value, h('span', { class: 'muted', text: `  (default ${s.default})` })),
        ]),
      ),
    );
  }
}
