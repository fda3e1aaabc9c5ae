import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { FrameLocator, Locator } from 'playwright-core';
import type { Editor } from './editor.ts';

const artifacts = join(import.meta.dirname, '../../artifacts/vscode');

/** How the system asks for each theme (see `SETTINGS` of the editor), and how the workbench says that it shows it. */
const THEMES = {
  light: [{ colorScheme: 'light', forcedColors: 'none' }, '.vs'],
  contrast: [{ colorScheme: 'dark', forcedColors: 'active' }, '.hc-black'],
  dark: [{ colorScheme: 'dark', forcedColors: 'none' }, '.vs-dark'],
} as const;

/** Long enough for a machine that others keep busy. */
const VISIBLE_MS = 60_000;

/** What a person sees and does in the editor. Each waits for what it needs. */
export class Workbench {
  readonly editor: Editor;
  readonly #set: string;
  #shots = 0;

  /** `set`: the folder of its pictures in test/artifacts/vscode. */
  constructor(editor: Editor, set: string) {
    this.editor = editor;
    this.#set = set;
  }

  get #page() {
    return this.editor.page;
  }

  /** Opens the extension's container in the activity bar. */
  async open(container = 'DMaaS'): Promise<void> {
    // A click on one that is open closes it, and a window that was just loaded may be about to open it again.
    for (let turn = 0; turn < 10; turn++) {
      const isShown = await this.view('Applications')
        .waitFor({ timeout: VISIBLE_MS / 10 })
        .then(
          () => true,
          () => false,
        );
      if (isShown) return;
      await this.#page.getByRole('tab', { name: container }).click();
    }
    throw new Error(`the container ${container} does not open`);
  }

  view(name: string): Locator {
    return this.#page.locator('.pane').filter({ has: this.#page.locator('.pane-header', { hasText: name }) });
  }

  /** A line of a view whose label begins with that text. */
  item(view: string, label: string | RegExp): Locator {
    return this.view(view)
      .getByRole('treeitem')
      .filter({ has: this.#page.locator('.label-name', { hasText: typeof label === 'string' ? exactly(label) : label }) })
      .first();
  }

  /** Waits for a line, and scrolls to it: lines out of sight are not in the page. */
  async seeItem(view: string, label: string | RegExp, timeout = VISIBLE_MS): Promise<Locator> {
    const item = this.item(view, label);
    const deadline = Date.now() + timeout;
    for (let turn = 0; ; turn++) {
      const isSeen = await item.waitFor({ timeout: turn === 0 ? 1500 : 150 }).then(
        () => true,
        () => false,
      );
      if (isSeen) break;
      if (Date.now() > deadline) throw new Error(`there is no line ${String(label)} in the view ${view}`);
      await this.view(view).locator('.monaco-list').hover();
      // Down step by step, and from the end to the top again.
      await this.#page.mouse.wheel(0, turn % 12 === 11 ? -10_000 : 150);
    }
    return item;
  }

  /** Waits until so many lines of that label are there. */
  async seeItems(view: string, label: string, count: number): Promise<void> {
    const items = this.view(view)
      .getByRole('treeitem')
      .filter({ has: this.#page.locator('.label-name', { hasText: exactly(label) }) });
    await items.nth(count - 1).waitFor({ timeout: VISIBLE_MS });
  }

  /** Unfolds a view, unless it is. */
  async unfold(view: string): Promise<void> {
    if ((await this.view(view).locator('.pane-header').getAttribute('aria-expanded')) === 'false') await this.fold(view);
  }

  /** Folds a view, which leaves more room to the others, or unfolds it. */
  async fold(view: string): Promise<void> {
    await this.view(view).locator('.pane-header').click();
  }

  async click(view: string, label: string | RegExp): Promise<void> {
    await (await this.seeItem(view, label)).locator('.label-name').click();
  }

  /** Opens the lines below one, unless they are. */
  async expand(view: string, label: string | RegExp): Promise<void> {
    const item = await this.seeItem(view, label);
    if ((await item.getAttribute('aria-expanded')) === 'false') await item.locator('.monaco-tl-twistie').click();
    await this.#page.waitForTimeout(200);
  }

  /** Presses a button in a line, which shows when the pointer is on it: again when the line was drawn anew under the pointer. */
  async press(view: string, label: string | RegExp, action: string): Promise<void> {
    for (let turn = 1; ; turn++) {
      const item = await this.seeItem(view, label);
      const button = item
        .locator('.actions')
        .getByRole('button', { name: action })
        .or(item.locator(`.action-label[aria-label^="${action}"]`))
        .first();
      await this.view(view).locator('.pane-header').hover();
      await item.hover();
      try {
        await button.click({ timeout: 3000 });
        return;
      } catch (e) {
        if (turn === 5) throw e;
        // A line at the edge of its view is only half in it.
        await this.view(view).locator('.monaco-list').hover();
        await this.#page.mouse.wheel(0, 40);
      }
    }
  }

  /** Chooses from the menu of a line. */
  async choose(view: string, label: string | RegExp, command: string): Promise<void> {
    await (await this.seeItem(view, label)).click({ button: 'right' });
    const entry = this.#page.locator('.monaco-menu .action-label', { hasText: exactly(command) });
    await entry.waitFor({ timeout: VISIBLE_MS });
    // A menu takes a click right after it opened for a part of the one that opened it.
    await this.#page.waitForTimeout(500);
    await entry.click();
  }

  /** Presses a button in the title of a view. */
  async pressTitle(view: string, action: string): Promise<void> {
    await this.view(view).locator('.pane-header').hover();
    await this.view(view).locator('.pane-header').getByRole('button', { name: action }).click();
  }

  /** The dialog of steps and lists. */
  get quickInput(): Locator {
    return this.#page.locator('.quick-input-widget');
  }

  async seeStep(title: string | RegExp, placeholder: string | RegExp): Promise<void> {
    await this.quickInput.locator('.quick-input-title', { hasText: title }).waitFor({ timeout: VISIBLE_MS });
    await this.quickInput.getByPlaceholder(placeholder).waitFor({ timeout: VISIBLE_MS });
    await this.quickInput.locator('.monaco-progress-container.active').waitFor({ state: 'hidden', timeout: VISIBLE_MS });
  }

  choice(label: string | RegExp): Locator {
    return this.quickInput.locator('.quick-input-list .monaco-list-row', { hasText: label }).first();
  }

  async pick(label: string | RegExp): Promise<void> {
    await this.choice(label).click({ timeout: VISIBLE_MS });
  }

  async type(text: string): Promise<void> {
    await this.quickInput.locator('.quick-input-box input, .quick-input-filter input').first().fill(text);
  }

  async key(name: string): Promise<void> {
    await this.#page.keyboard.press(name);
  }

  /** A message that says so, with its buttons. */
  async message(text: string | RegExp, timeout = VISIBLE_MS): Promise<Locator> {
    const found = this.#page
      .locator('.notification-toast', { has: this.#page.locator('.notification-list-item-message', { hasText: text }) })
      .first();
    await found.waitFor({ timeout });
    return found;
  }

  async messageActions(text: string | RegExp): Promise<string[]> {
    return (await this.message(text)).locator('.notification-list-item-buttons-container .monaco-button').allInnerTexts();
  }

  /** Presses a button of a message. */
  async answer(text: string | RegExp, action: string): Promise<void> {
    await (
      await this.message(text)
    )
      .locator('.notification-list-item-buttons-container .monaco-button', { hasText: exactly(action) })
      .click();
  }

  /** Names a file on this machine in the editor's own dialog. */
  async chooseFile(path: string): Promise<void> {
    const box = this.quickInput.locator('.quick-input-box input');
    await box.waitFor({ timeout: VISIBLE_MS });
    // The dialog lists its folder first, and may write over what was typed before it is done.
    await this.quickInput.locator('.quick-input-list .monaco-list-row').first().waitFor({ timeout: VISIBLE_MS });
    for (let turn = 0; turn < 10; turn++) {
      await box.fill(path);
      await this.#page.waitForTimeout(500);
      if ((await box.inputValue()) === path) break;
    }
    await this.quickInput.locator('.quick-input-action .monaco-button').first().click();
    // What is asked next may show in the same widget.
    await this.quickInput.locator('input[aria-label*="path -"]').waitFor({ state: 'hidden', timeout: VISIBLE_MS });
  }

  messages(): Promise<string[]> {
    return this.#page.locator('.notification-toast .notification-list-item-message').allInnerTexts();
  }

  async clearMessages(): Promise<void> {
    if ((await this.messages()).length === 0) return;
    await this.key('Escape'); // a question that a failed test left open
    await this.command('Notifications: Clear All Notifications');
    await this.#page.locator('.notification-toast').first().waitFor({ state: 'hidden' });
  }

  /** Runs a command from the palette. */
  async command(title: string): Promise<void> {
    await this.#page.keyboard.press('F1');
    await this.type(`>${title}`);
    await this.choice(title).waitFor();
    await this.#page.keyboard.press('Enter');
  }

  tab(name: string | RegExp): Locator {
    return this.#page.locator('.tabs-container .tab', { hasText: name }).first();
  }

  /** The text of the editor in front. */
  async text(): Promise<string> {
    const lines = this.#page.locator('.editor-instance .view-lines').last();
    await lines.waitFor({ timeout: VISIBLE_MS });
    return (await lines.innerText()).replaceAll('\u00a0', ' ');
  }

  timeline(): FrameLocator {
    return this.#page.frameLocator('iframe.webview.ready').frameLocator('#active-frame');
  }

  /** A picture of what was there when a test failed. For `afterEach`. */
  async shootFailure(test: Mocha.Test | undefined): Promise<void> {
    if (test?.state !== 'failed') return;
    const folder = join(artifacts, this.#set);
    await mkdir(folder, { recursive: true });
    await this.#page.screenshot({ path: join(folder, `failed-${test.title.replaceAll(/\W+/g, '-').slice(0, 40)}.png`) });
  }

  /** Takes a picture in each theme, as `NN-name-theme.png`. */
  async shoot(name: string): Promise<void> {
    this.#shots += 1;
    const folder = join(artifacts, this.#set);
    await mkdir(folder, { recursive: true });
    for (const [theme, [media, css]] of Object.entries(THEMES)) {
      await this.#page.emulateMedia(media);
      await this.#page.locator(`.monaco-workbench${css}`).waitFor();
      await this.#page.waitForTimeout(350);
      await this.#page.screenshot({ path: join(folder, `${String(this.#shots).padStart(2, '0')}-${name}-${theme}.png`) });
    }
  }
}

function exactly(text: string): RegExp {
  return new RegExp(`^\\s*${text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\s*$`);
}
