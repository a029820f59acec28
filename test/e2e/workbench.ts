/** Drives the workbench as a user does: keys, menus, and what can be seen. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach } from 'vitest';
import type { Browser, Frame, Locator, Page } from 'playwright-core';
import { closeDesktop, desktopPid, isDesktopExtensionHost, openDesktopWindow } from './desktop';
import { descendants, type Project } from './project';
import { startChromium } from '../support/chromium';
import { until } from '../support/until';
import { baseSettings } from './settings';
import type { EditorPlaces } from './globalSetup';

export const screenshots = path.resolve('out/screenshots');

/** Nothing here is slow by itself; a machine with other work on it may be, or stand still for minutes. */
const patienceMs = 300_000;

let browser: Browser | undefined;

/** Ends whatever shows the windows. */
export async function closeBrowser(): Promise<void> {
  await closeDesktop();
  await browser?.close();
  browser = undefined;
}

/** Writes the user's settings: the calm ones of every test, and these. */
export function setUserSettings(editor: EditorPlaces, more: Record<string, unknown> = {}): void {
  writeFileSync(editor.settingsFile, JSON.stringify({ ...baseSettings, ...more }));
}

export class Workbench {
  private constructor(
    readonly page: Page,
    private readonly editor: EditorPlaces,
    readonly folder: string,
  ) {}

  /**
   * Opens a folder in a window of its own.
   * @param folder undefined: a window without one
   * @param settings the user's settings beside the common ones; what another test left is gone
   */
  static async open(
    editor: EditorPlaces,
    folder: string | undefined,
    settings: Record<string, unknown> = {},
  ): Promise<Workbench> {
    setUserSettings(editor, settings);
    if (editor.desktop !== '') {
      const window = await openDesktopWindow(editor, editor.desktop, folder);
      window.setDefaultTimeout(patienceMs);
      const workbench = new Workbench(window, editor, folder ?? '');
      await workbench.drawn();
      return workbench;
    }
    browser ??= await startChromium();
    const context = await browser.newContext({
      viewport: { width: 1280, height: 960 },
      deviceScaleFactor: 1,
      locale: 'en-US',
    });
    context.setDefaultTimeout(patienceMs);
    const page = await context.newPage();
    const workbench = new Workbench(page, editor, folder ?? '');
    const query = folder === undefined ? 'ew=true' : `folder=${encodeURIComponent(folder)}`;
    await page.goto(`${editor.url}/?${query}`);
    await workbench.drawn();
    return workbench;
  }

  /** The status bar is drawn last; before it, keys are lost. */
  private async drawn(): Promise<void> {
    await this.page.locator('.statusbar .left-items').waitFor();
  }

  /**
   * Reloads the window with the editor's own command, which first puts its state away (a page that is
   * simply reloaded in a browser cannot wait for that).
   */
  async reload(): Promise<void> {
    await Promise.all([
      this.page.waitForEvent('domcontentloaded').catch((error: unknown) => {
        throw new Error('The window did not reload: its editor has not put its state away', {
          cause: error,
        });
      }),
      this.command('Developer: Reload Window'),
    ]);
    await this.drawn();
  }

  async close(): Promise<void> {
    if (this.editor.desktop !== '') return this.page.close();
    // Leaving the page properly lets the server end the window's extension host at once.
    await this.page.goto('about:blank').catch(() => undefined);
    await this.page.context().close();
  }

  get quickInput(): Locator {
    return this.page.locator('.quick-input-widget');
  }

  /** Runs a palette command by its full title, `DoTA: Fine-tune`. */
  async command(title: string): Promise<void> {
    // The label goes on with the key binding or the group, where there is one.
    const row = this.page
      .locator(
        `.quick-input-widget .monaco-list-row[aria-label="${title}"], ` +
          `.quick-input-widget .monaco-list-row[aria-label^="${title},"]`,
      )
      .first();
    for (let attempt = 0; ; attempt++) {
      try {
        await this.page.keyboard.press('F1');
        const input = this.page.locator('.quick-input-widget input.input');
        await input.waitFor({ state: 'visible', timeout: 10_000 });
        await input.fill(`>${title}`, { timeout: 5000 });
        await row.click({ timeout: 15_000 });
        return;
      } catch (error) {
        // A panel that takes the focus closes the palette; and commands of the manifest appear only
        // when the extension host has started.
        if (attempt === 7) throw error;
        await this.page.keyboard.press('Escape');
      }
    }
  }

  /** Titles that the palette offers for a text. */
  async commandsMatching(text: string): Promise<string[]> {
    await this.page.keyboard.press('F1');
    const input = this.page.locator('.quick-input-widget input.input');
    await input.waitFor({ state: 'visible' });
    await input.fill(`>${text}`);
    const rows = this.page.locator('.quick-input-widget .monaco-list-row');
    await rows.filter({ hasText: text.trim() }).first().waitFor();
    const titles = await rows.evaluateAll((all) =>
      all.map((row) => row.querySelector('.label-name')?.textContent ?? ''),
    );
    await this.page.keyboard.press('Escape');
    return titles;
  }

  /** Takes an entry of an element's context menu. */
  async contextMenu(element: Locator, label: string): Promise<void> {
    // A tree may be drawn anew under the pointer, and a menu ignores the first moments after it opened,
    // lest a long click take an entry: so it is taken by key, and asked for again if it went away.
    await until(`${label} of the menu`, async () => {
      await element.click({ button: 'right' });
      const entry = this.menuEntry(label);
      try {
        await entry.hover({ timeout: 5000 });
        const focused = this.page.locator('.context-view .monaco-menu .action-item.focused', {
          hasText: label,
        });
        await focused.waitFor({ timeout: 5000 });
        await this.page.keyboard.press('Enter');
        await entry.waitFor({ state: 'hidden', timeout: 5000 });
        return true;
      } catch {
        await this.page.keyboard.press('Escape');
        return undefined;
      }
    });
  }

  /** Presses a button at the end of a row, which appears under the pointer. */
  async inlineAction(row: Locator, label: string): Promise<void> {
    // A row that is drawn anew takes its buttons with it.
    await until(`${label} of the row`, async () => {
      try {
        await row.hover({ timeout: 5000 });
        await row.getByRole('button', { name: label }).click({ timeout: 5000 });
        return true;
      } catch {
        return undefined;
      }
    });
  }

  /** An entry of the context menu that is open. */
  menuEntry(label: string): Locator {
    return this.page.locator('.context-view .monaco-menu .action-item', { hasText: label }).first();
  }

  /** The question in the middle of the window. */
  get dialog(): Locator {
    return this.page.locator('.monaco-dialog-box');
  }

  /** Answers it with the button that begins so. */
  async answer(button: string): Promise<void> {
    await this.dialog.locator('.monaco-button', { hasText: button }).first().click();
    await this.dialog.waitFor({ state: 'detached' });
  }

  /** Puts the cursor into the active editor. */
  async goTo(line: number, column: number): Promise<void> {
    await this.page.locator('.editor-instance .view-lines').first().click();
    await this.page.keyboard.press('Control+G');
    const input = this.page.locator('.quick-input-widget input.input');
    await input.waitFor({ state: 'visible' });
    await input.fill(`:${line}:${column}`);
    await this.page.keyboard.press('Enter');
    await input.waitFor({ state: 'hidden' });
    await this.page
      .locator('.statusbar-item', { hasText: `Ln ${line}, Col ${column}` })
      .first()
      .waitFor();
  }

  /** Answers the input box with this title. */
  async fillInput(title: string, text: string): Promise<void> {
    await this.waitForStep(title);
    const input = this.page.locator('.quick-input-widget input.input');
    await input.fill(text);
    await input.press('Enter');
    await input.waitFor({ state: 'hidden' });
  }

  /** Opens a file of the workspace in the editor; a new one is found when the editor has noticed it. */
  async openFile(name: string): Promise<void> {
    const input = this.page.locator('.quick-input-widget input.input');
    await until(`${name} in the list of files`, async () => {
      try {
        await this.page.keyboard.press('Control+P');
        await input.waitFor({ state: 'visible', timeout: 10_000 });
        await input.fill(name, { timeout: 5000 });
        await this.quickPickRow(name).click({ timeout: 5000 });
        return true;
      } catch {
        await this.page.keyboard.press('Escape');
        return undefined;
      }
    });
    await this.page.locator('.tab.active', { hasText: name }).waitFor();
  }

  /** Takes a row of the open quick pick. */
  async pick(label: string): Promise<void> {
    await this.quickPickRow(label).click();
  }

  quickPickRow(label: string): Locator {
    return this.page
      .locator('.quick-input-widget .monaco-list-row:visible')
      .filter({ hasText: label })
      .first();
  }

  /** Waits for the step of a quick pick or input box whose title says so. */
  async waitForStep(title: string): Promise<void> {
    await until(`the step ${title}`, async () => (await this.quickTitle()).includes(title));
  }

  /** Takes what a step proposes. */
  async acceptStep(title: string): Promise<void> {
    await this.waitForStep(title);
    await this.page.locator('.quick-input-widget .monaco-list-row.focused').waitFor();
    await this.page.locator('.quick-input-widget input.input').press('Enter');
    await until(`the end of ${title}`, async () => {
      const now = this.page.locator('.quick-input-widget:visible .quick-input-title');
      return !(await now.textContent({ timeout: 1000 }).catch(() => ''))?.includes(title);
    });
  }

  async goBack(): Promise<void> {
    await this.page.locator('.quick-input-left-action-bar .action-label').click();
  }

  /** The row of the quick pick that Enter takes. */
  async focusedRow(): Promise<string> {
    const row = this.page.locator('.quick-input-widget .monaco-list-row.focused');
    return (await row.textContent()) ?? '';
  }

  async quickTitle(): Promise<string> {
    const title = this.page.locator('.quick-input-widget .quick-input-title');
    await title.waitFor({ state: 'visible' });
    return (await title.textContent()) ?? '';
  }

  /**
   * Opens the DoTA side bar. The icon closes it where it is open, and a window that restores its state
   * opens it late: a click that came before that is followed by another.
   */
  async openSideBar(): Promise<void> {
    const icon = this.page.locator('.activitybar .action-label[aria-label="DoTA"]').first();
    const model = this.view('Model');
    await icon.waitFor();
    await until('the side bar', async () => {
      if (await model.isVisible()) return true;
      await icon.click();
      return model.waitFor({ timeout: 5000 }).then(
        () => true,
        () => false,
      );
    });
  }

  /** The pane of a view. */
  view(name: string): Locator {
    return this.page
      .locator('.sidebar .pane')
      .filter({ has: this.page.locator(`.pane-header h3.title:text-is("${name}")`) });
  }

  /** A row of a tree by its label. */
  treeRow(view: string, label: string | RegExp): Locator {
    return this.view(view)
      .locator('.monaco-list-row')
      .filter({ has: this.page.locator('.label-name', { hasText: label }) })
      .first();
  }

  /** Presses a key in a tree, without a click that would open or close a row. */
  async keyInView(view: string, key: string): Promise<void> {
    await this.command(`DoTA: Focus on ${view} View`);
    await this.view(view).locator('.monaco-list:focus-within').waitFor();
    await this.page.keyboard.press(key);
  }

  async expand(view: string, label: string | RegExp): Promise<void> {
    const row = this.treeRow(view, label);
    await row.waitFor();
    if ((await row.getAttribute('aria-expanded')) === 'false')
      await row.locator('.monaco-tl-twistie').click();
  }

  async collapse(view: string, label: string | RegExp): Promise<void> {
    const row = this.treeRow(view, label);
    if ((await row.getAttribute('aria-expanded')) === 'true')
      await row.locator('.monaco-tl-twistie').click();
  }

  /** The content of a webview that is shown, by its document's title. */
  async webview(title: string): Promise<Frame> {
    return until(`a webview with the title ${title}`, async () => {
      for (const frame of this.page.frames()) {
        if (frame === this.page.mainFrame()) continue;
        try {
          if ((await frame.title()) !== title) continue;
          const drawn = await frame.evaluate(() => document.body.innerText.trim().length > 0);
          if (drawn) return frame;
        } catch {
          // The frame was replaced meanwhile.
        }
      }
      return undefined;
    });
  }

  /** Runs an action on the panel, again if the editor replaced its frame under it. */
  async inPanel<T>(title: string, action: (frame: Frame) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      const frame = await this.webview(title);
      try {
        return await action(frame);
      } catch (error) {
        if (attempt === 2 || !frame.isDetached()) throw error;
      }
    }
  }

  /** Brings the editor with this title to the front. */
  async showTab(name: string): Promise<void> {
    await this.page.locator('.tab', { hasText: name }).first().click();
    await this.page.locator('.tab.active', { hasText: name }).waitFor();
  }

  /** A webview that shows this text: the editor's own preview of Markdown has no title. */
  async webviewShowing(text: string): Promise<Frame> {
    return until(`a webview that shows ${text}`, async () => {
      for (const frame of this.page.frames()) {
        const shown = await frame
          .getByText(text)
          .first()
          .isVisible()
          .catch(() => false);
        if (shown && frame !== this.page.mainFrame()) return frame;
      }
      return undefined;
    });
  }

  /** Takes what the open dialog for files proposes, once that lies in the workspace. */
  async acceptFileDialog(): Promise<void> {
    const input = this.page.locator('.quick-input-widget input.input');
    await input.waitFor({ state: 'visible' });
    await until('a proposed place', async () => (await input.inputValue()).startsWith(this.folder));
    await this.page.locator('.quick-input-action .monaco-button').first().click();
    await input.waitFor({ state: 'hidden' });
  }

  notification(text: string | RegExp): Locator {
    return this.page.locator('.notification-list-item').filter({ hasText: text }).first();
  }

  async clearNotifications(): Promise<void> {
    await this.command('Notifications: Clear All Notifications');
  }

  /**
   * Chooses a theme as a user does; the next window that is opened has the common one again.
   * @param base the workbench's class for this kind of theme
   */
  async setTheme(name: string, base: string): Promise<void> {
    await this.command('Preferences: Color Theme');
    const input = this.page.locator('.quick-input-widget input.input');
    await input.fill(name);
    await this.page
      .locator(`.quick-input-widget .monaco-list-row.focused[aria-label^="${name}"]`)
      .waitFor();
    await input.press('Enter');
    await input.waitFor({ state: 'hidden' });
    await this.page.locator(`.monaco-workbench.${base}`).waitFor();
  }

  get statusItem(): Locator {
    return this.page.locator('.statusbar-item[id*="dota.status"]');
  }

  /** @param pointer `stays` where what it points at is to be seen; else nothing shows a hover */
  async screenshot(name: string, pointer: 'leaves' | 'stays' = 'leaves'): Promise<void> {
    mkdirSync(screenshots, { recursive: true });
    if (pointer === 'leaves') await this.page.mouse.move(2, 2);
    await this.page.waitForTimeout(700);
    await this.page.screenshot({ path: path.join(screenshots, `${name}.png`) });
  }
}

/** Processes of the extension hosts of all windows, those closed a moment ago among them. */
export function extensionHosts(editor: EditorPlaces): number[] {
  return editor.desktop === ''
    ? descendants(editor.serverPid, /--type=extensionHost/)
    : descendants(desktopPid(), /--type=utility/).filter(isDesktopExtensionHost);
}

/** Keeps a picture of what the user would have seen when a test fails. */
export function photographFailures(workbench: () => Workbench | undefined): void {
  afterEach(async ({ task }) => {
    if (task.result?.state !== 'fail') return;
    const name = task.name.replace(/[^a-z0-9]+/gi, '-').slice(0, 60);
    await workbench()
      ?.screenshot(`failed-${name}`)
      .catch(() => undefined);
  });
}

/**
 * For a file of tests that share one window: photographs what fails, and ends trainers, window and
 * browser afterwards.
 * @param used what there is by then; less where the set-up failed
 */
export function tidyUpAfter(
  used: () => { project: Project | undefined; workbench: Workbench | undefined },
): void {
  photographFailures(() => used().workbench);
  afterAll(async () => {
    used().project?.endTrainers();
    await used().workbench?.close();
    await closeBrowser();
  });
}
