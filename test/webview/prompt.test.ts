import { describe, expect, it } from 'vitest';
import type { PromptViewMessage } from '../../src/protocol/promptPanel';
import { faintIcons, lowContrast, overflowing } from './audit';
import type { Webview } from './harness';
import { testPanel } from './testPanel';
import { themes } from './themes';

const show = testPanel('prompt');
let view: Webview;

const init = {
  type: 'init',
  title: 'my run',
  sides: ['Base model', 'my run'],
  history: ['an earlier prompt'],
  request: { prompt: 'Hello', template: 'raw', maxNewTokens: 32, temperature: 0 },
};

describe.each(themes)('Try Prompt in $name', (theme) => {
  it('asks, shows both answers as they grow, and stops', async () => {
    view = await show({ theme });
    await view.post(init);
    const { page } = view;
    expect(await page.inputValue('textarea')).toBe('Hello');
    await page.fill('textarea', 'What is <b>2 + 2</b>?');
    await page.click('button:has-text("Generate")');
    await view.post({ type: 'running', running: true, history: ['What is <b>2 + 2</b>?'] });
    expect(await page.isDisabled('button:has-text("Generate")')).toBe(true);
    await view.post({ type: 'text', index: 0, text: '<i>five</i>', note: '' });
    await view.post({ type: 'text', index: 1, text: 'four', note: '1 tokens, 9.0 tokens/s' });
    expect(await page.textContent('.answer >> nth=0 >> pre')).toBe('<i>five</i>');
    expect(await page.textContent('.answer >> nth=1 >> footer')).toContain('9.0 tokens/s');
    await page.click('button:has-text("Stop")');
    await view.post({ type: 'running', running: false, history: [] });
    const sent = await view.sent<PromptViewMessage>();
    expect(sent).toEqual([
      { type: 'ready' },
      {
        type: 'generate',
        request: { ...init.request, prompt: 'What is <b>2 + 2</b>?' },
      },
      { type: 'stop' },
    ]);
    expect(await page.textContent('.answer >> nth=0 >> footer')).toBe('Stopped');
    await view.post({ type: 'error', message: 'The adapter was trained on other weights.' });
    expect(await page.textContent('[role=alert]')).toContain('other weights');
    expect(await lowContrast(page)).toEqual([]);
    expect(await faintIcons(page)).toEqual([]);
    expect(await overflowing(page)).toEqual([]);
    await view.screenshot(`prompt-${theme.name}`);
  });
});

it('adds a run to the answers, and takes one away', async () => {
  view = await show();
  await view.post({ ...init, sides: ['Base model', 'my run', 'other run'] });
  await view.page.click('button:has-text("Add Run")');
  // The base model's answer stays.
  expect(await view.page.locator('.answer header button').count()).toBe(2);
  await view.page.click('button[aria-label="Take away other run"]');
  expect((await view.sent<PromptViewMessage>()).slice(1)).toEqual([
    { type: 'addRun' },
    { type: 'removeSide', index: 2 },
  ]);
});

it('takes an earlier prompt, and refuses lengths that are none', async () => {
  view = await show();
  await view.post(init);
  await view.page.selectOption('select >> nth=1', { index: 1 });
  expect(await view.page.inputValue('textarea')).toBe('an earlier prompt');
  await view.page.fill('input >> nth=0', '0');
  await view.page.click('button:has-text("Generate")');
  expect((await view.sent()).map(({ type }) => type)).toEqual(['ready']);
});
