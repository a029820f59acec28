/** A prompt, its settings, and the answers side by side. */
import {
  parsePromptHostMessage,
  promptLimits,
  promptTemplates,
  type PromptHostMessage,
  type PromptRequest,
  type PromptTemplate,
  type PromptViewMessage,
} from '../../src/protocol/promptPanel';
import { button, h, replaceChildren, setText } from '../shared/dom';
import { connect } from '../shared/editorApi';

const templateNames: Readonly<Record<PromptTemplate, string>> = {
  raw: 'None',
  plain: 'Prompt and completion',
  alpaca: 'Alpaca',
  'llm-adapters': 'LLM-Adapters',
  chat: 'Chat',
};

export function startPrompt(root: HTMLElement): void {
  const api = connect<PromptHostMessage, PromptViewMessage, string>(
    parsePromptHostMessage,
    (raw) => (typeof raw === 'string' ? raw : ''),
    (message) => {
      receive(message);
    },
  );
  let running = false;
  let answers: { text: HTMLElement; note: HTMLElement }[] = [];

  const title = h('h1', { text: 'Try Prompt' });
  const prompt = h('textarea', {
    attrs: {
      'aria-label': 'Prompt',
      placeholder: 'Write a prompt…',
      maxlength: promptLimits.promptLength,
    },
    on: {
      input: () => {
        api.save(prompt.value);
      },
      keydown: (event) => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send();
      },
    },
  });
  const template = h(
    'select',
    {},
    ...promptTemplates.map((name) =>
      h('option', { text: templateNames[name], attrs: { value: name } }),
    ),
  );
  const length = numberInput('1', String(promptLimits.maxNewTokens), '1');
  const temperature = numberInput('0', String(promptLimits.temperature), '0.1');
  const history = h('select', {
    on: {
      change: () => {
        if (history.value === '') return;
        prompt.value = history.value;
        api.save(prompt.value);
        history.selectedIndex = 0;
        prompt.focus();
      },
    },
  });
  const ask = button('Generate', send, {
    icon: 'play',
    kind: 'primary',
    title: 'Generate (Ctrl+Enter)',
  });
  const stop = button(
    'Stop',
    () => {
      api.post({ type: 'stop' });
    },
    { icon: 'debug-stop' },
  );
  const add = button(
    'Add Run…',
    () => {
      api.post({ type: 'addRun' });
    },
    { icon: 'add', title: 'Show the answer of another run on this base model as well' },
  );
  const error = h('p', { class: 'error', attrs: { role: 'alert', hidden: true } });
  const columns = h('div', { class: 'answers', attrs: { 'aria-live': 'off' } });
  const status = h('div', { class: 'sr-only', attrs: { role: 'status' } });

  root.append(
    title,
    h(
      'section',
      { class: 'ask' },
      prompt,
      h(
        'div',
        { class: 'controls' },
        labelled('Template', template),
        labelled('Longest answer (tokens)', length),
        labelled('Temperature (0 = greedy)', temperature),
        labelled('Earlier prompts', history),
        h('div', { class: 'buttons' }, add, stop, ask),
      ),
    ),
    error,
    columns,
    status,
  );
  setRunning(false);
  prompt.value = api.restore();
  api.post({ type: 'ready' });

  function send(): void {
    const request = read();
    if (running || request === undefined) return;
    error.hidden = true;
    for (const { text, note } of answers) {
      setText(text, '');
      setText(note, 'Loading the model…');
    }
    api.post({ type: 'generate', request });
  }

  /** undefined where a field does not hold what it should; the field then says so. */
  function read(): PromptRequest | undefined {
    if (!length.reportValidity() || !temperature.reportValidity()) return undefined;
    return {
      prompt: prompt.value,
      template: promptTemplates.find((name) => name === template.value) ?? 'raw',
      maxNewTokens: length.valueAsNumber,
      temperature: temperature.valueAsNumber,
    };
  }

  function receive(message: PromptHostMessage): void {
    switch (message.type) {
      case 'init': {
        const { request } = message;
        setText(title, `Try Prompt: ${message.title}`);
        if (prompt.value === '') prompt.value = request.prompt;
        template.value = request.template;
        length.value = String(request.maxNewTokens);
        temperature.value = String(request.temperature);
        showHistory(message.history);
        showSides(message.sides);
        return;
      }
      case 'text': {
        const answer = answers[message.index];
        if (answer === undefined) return;
        setText(answer.text, message.text);
        setText(answer.note, message.note);
        return;
      }
      case 'running':
        setRunning(message.running);
        showHistory(message.history);
        return;
      case 'error':
        error.hidden = false;
        setText(error, message.message);
        for (const { note } of answers) setText(note, '');
    }
  }

  function showSides(sides: readonly string[]): void {
    answers = sides.map(() => ({
      text: h('pre', { attrs: { tabindex: 0 } }),
      note: h('footer', { class: 'muted small' }),
    }));
    const cards = answers.map(({ text, note }, i) => {
      const name = sides[i] ?? '';
      return h(
        'article',
        { class: 'answer', attrs: { 'aria-label': `Answer of ${name}` } },
        h('header', {}, h('h2', { text: name }), i > 0 && removeButton(i, name)),
        text,
        note,
      );
    });
    replaceChildren(columns, ...cards);
  }

  function removeButton(index: number, name: string): HTMLButtonElement {
    const remove = (): void => {
      api.post({ type: 'removeSide', index });
    };
    return button(`Take away ${name}`, remove, { icon: 'close', kind: 'tool' });
  }

  function showHistory(prompts: readonly string[]): void {
    const short = (text: string): string => (text.length > 60 ? `${text.slice(0, 59)}…` : text);
    replaceChildren(
      history,
      h('option', { text: prompts.length === 0 ? 'None yet' : 'Choose…', attrs: { value: '' } }),
      ...prompts.map((text) =>
        h('option', { text: short(text.replace(/\s+/g, ' ')), attrs: { value: text } }),
      ),
    );
  }

  function setRunning(now: boolean): void {
    if (running && !now) setText(status, 'The answers are complete.');
    running = now;
    ask.disabled = now;
    add.disabled = now;
    stop.disabled = !now;
    if (now) return;
    for (const { note } of answers) {
      if (note.textContent === 'Loading the model…' || note.textContent === '') {
        setText(note, 'Stopped');
      }
    }
  }
}

function labelled(text: string, control: HTMLElement): HTMLElement {
  return h('label', {}, h('span', { class: 'small muted', text }), control);
}

function numberInput(min: string, max: string, step: string): HTMLInputElement {
  return h('input', { attrs: { type: 'number', required: true, min, max, step } });
}
