/** Drives the workbench as a user does: keys, menus, and what can be seen. */
import chromiumPackage from '@sparticuz/chromium';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach } from 'vitest';
import { chromium, type Browser, type Frame, type Locator, type Page } from 'playwright-core';
import type { EditorPlaces } from './globalSetup';

export const screenshots = path.resolve('out/screenshots');

let browser: Browser | undefined;

export async function launchBrowser(): Promise<Browser> {
  const system = '/usr/bin/chromium';
  browser ??= await chromium.launch({
    executablePath: existsSync(system) ? system : await chromiumPackage.executablePath(),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
      '--force-color-profile=srgb',
    ],
  });
  return browser;
}

export async function closeBrowser(): Promise<void> {
  await browser?.close();
  browser = undefined;
}

export function setUserSetting(editor: EditorPlaces, changes: Record<string, unknown>): void {
  const settings = JSON.parse(readFileSync(editor.settingsFile, 'utf8')) as object;
  writeFileSync(editor.settingsFile, JSON.stringify({ ...settings, ...changes }));
}

export class Workbench {
  private constructor(
    readonly page: Page,
    private readonly editor: EditorPlaces,
    readonly folder: string,
  ) {}

  /** Opens a folder in a window of its own. */
  static async open(editor: EditorPlaces, folder: string): Promise<Workbench> {
    const context = await (
      await launchBrowser()
    ).newContext({ viewport: { width: 1280, height: 960 }, deviceScaleFactor: 1 });
    const page = await context.newPage();
    const workbench = new Workbench(page, editor, folder);
    await workbench.load();
    return workbench;
  }

  async load(): Promise<void> {
    await this.page.goto(`${this.editor.url}/?folder=${encodeURIComponent(this.folder)}`);
    await this.page.locator('.monaco-workbench').waitFor({ timeout: 60_000 });
    // The status bar is drawn last; before it, keys are lost.
    await this.page.locator('.statusbar .left-items').waitFor({ timeout: 60_000 });
  }

  async reload(): Promise<void> {
    await this.page.reload();
    await this.page.locator('.statusbar .left-items').waitFor({ timeout: 60_000 });
  }

  async close(): Promise<void> {
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
        await row.click({ timeout: 10_000 });
        return;
      } catch (error) {
        // A panel that takes the focus closes the palette; and commands of the manifest appear only
        // when the extension host has started.
        if (attempt === 4) throw error;
        await this.page.keyboard.press('Escape');
      }
    }
  }

  /** Titles that the palette offers for a text. */
  async commandsMatching(text: string): Promise<string[]> {
    await this.page.keyboard.press('F1');
    const input = this.page.locator('.quick-input-widget input.input');
    await input.waitFor({ state: 'visible', timeout: 15_000 });
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
    await element.click({ button: 'right' });
    const entry = this.page
      .locator('.context-view .monaco-menu .action-item', { hasText: label })
      .first();
    await entry.waitFor();
    // A menu ignores the first moments after it opened, lest a long click take an entry.
    await until('the menu to take the click', async () => {
      await this.page.waitForTimeout(400);
      if (!(await entry.isVisible())) return true;
      await entry.click({ timeout: 2000 }).catch(() => undefined);
      return !(await entry.isVisible());
    });
  }

  /** Opens a file of the workspace in the editor. */
  async openFile(name: string): Promise<void> {
    await this.page.keyboard.press('Control+P');
    const input = this.page.locator('.quick-input-widget input.input');
    await input.waitFor({ state: 'visible', timeout: 15_000 });
    await input.fill(name);
    await this.quickPickRow(name).waitFor();
    await this.page.keyboard.press('Enter');
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

  async quickTitle(): Promise<string> {
    const title = this.page.locator('.quick-input-widget .quick-input-title');
    await title.waitFor({ state: 'visible' });
    return (await title.textContent()) ?? '';
  }

  /** Opens the DoTA side bar. */
  async openSideBar(): Promise<void> {
    const icon = this.page.locator('.activitybar .action-label[aria-label="DoTA"]').first();
    await icon.waitFor({ timeout: 30_000 });
    if (!(await this.view('Model').isVisible())) await icon.click();
    await this.view('Model').waitFor();
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

  async expand(view: string, label: string | RegExp): Promise<void> {
    const row = this.treeRow(view, label);
    await row.waitFor({ timeout: 30_000 });
    if ((await row.getAttribute('aria-expanded')) === 'false')
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

  notification(text: string | RegExp): Locator {
    return this.page.locator('.notification-list-item').filter({ hasText: text }).first();
  }

  async clearNotifications(): Promise<void> {
    await this.command('Notifications: Clear All Notifications');
  }

  async setTheme(name: string): Promise<void> {
    await this.command('Preferences: Color Theme');
    const input = this.page.locator('.quick-input-widget input.input');
    await input.fill(name);
    await this.page
      .locator(`.quick-input-widget .monaco-list-row.focused[aria-label^="${name}"]`)
      .waitFor();
    await this.page.keyboard.press('Enter');
    await input.waitFor({ state: 'hidden' });
  }

  get statusItem(): Locator {
    return this.page.locator('.statusbar-item[id*="dota.status"]');
  }

  async screenshot(name: string): Promise<void> {
    mkdirSync(screenshots, { recursive: true });
    // Away from anything with a hover of its own.
    await this.page.mouse.move(760, 790);
    await this.page.waitForTimeout(700);
    await this.page.screenshot({ path: path.join(screenshots, `${name}.png`) });
  }
}

/** Waits until a condition holds; says what did not. */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`Not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
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
