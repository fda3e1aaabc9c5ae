import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { run } from '../setup/command.ts';
import { ensureCodeServer } from '../setup/vscode.ts';
import { freePorts, ServerProcess, temporaryDir } from '../stores/server.ts';

const CHROMIUM = '/usr/bin/chromium';
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Nothing but this machine.
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
];

/** Without a gallery the editor asks none for updates. */
const ENVIRONMENT = { EXTENSIONS_GALLERY: '{}' };

/** Nothing of it but what is under test: no welcome pages, no assistants, no questions. */
const SETTINGS = {
  'workbench.startupEditor': 'none',
  'chat.disableAIFeatures': true,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.tips.enabled': false,
  'window.commandCenter': false,
  // The theme is what the system asks for, so that tests can ask for each.
  'window.autoDetectColorScheme': true,
  'window.autoDetectHighContrast': true,
  'workbench.preferredDarkColorTheme': 'Dark Modern',
  'workbench.preferredLightColorTheme': 'Light Modern',
  'workbench.preferredHighContrastColorTheme': 'Default High Contrast',
  'telemetry.telemetryLevel': 'off',
  'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false,
  'git.enabled': false,
  'remote.autoForwardPorts': false,
};

/** A real VS Code with extensions installed, open in a browser. */
export interface Editor {
  readonly page: Page;
  /** The folder that is open in it. */
  readonly folder: string;
  /** Loads the window again, as a restart does. */
  reload(): Promise<void>;
  stop(): Promise<void>;
}

export interface EditorOptions {
  /** Paths of packages. */
  readonly extensions: readonly string[];
  /** Of the user, besides those that keep the editor quiet. */
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
}

export async function startEditor(options: EditorOptions): Promise<Editor> {
  const entry = await ensureCodeServer();
  const dir = await temporaryDir('vscode');
  const work = dir.path;
  const [user, extensions, folder] = [join(work, 'user'), join(work, 'extensions'), join(work, 'workspace')];
  await mkdir(join(user, 'User'), { recursive: true });
  await mkdir(folder);
  await writeFile(join(user, 'User/settings.json'), JSON.stringify({ ...SETTINGS, ...options.settings }, undefined, 2));
  const folders = ['--user-data-dir', user, '--extensions-dir', extensions];
  const install = options.extensions.flatMap((path) => ['--install-extension', path]);
  await run(process.execPath, [entry, ...folders, ...install], { env: { HOME: work, ...ENVIRONMENT } });

  const [port] = await freePorts('127.0.0.1', 1);
  const address = `127.0.0.1:${String(port)}`;
  const quiet = [
    '--auth',
    'none',
    '--disable-telemetry',
    '--disable-update-check',
    '--disable-workspace-trust',
    '--disable-getting-started-override',
  ];
  const server = new ServerProcess({
    name: 'code-server',
    command: process.execPath,
    args: [entry, ...quiet, '--bind-addr', address, ...folders],
    env: { HOME: work, ...ENVIRONMENT, ...options.env },
    logFile: join(work, 'log'),
    isReady: async () => (await fetch(`http://${address}/healthz`)).ok,
  });
  await server.start();
  let browser: Browser | undefined;
  const stop = async (): Promise<void> => {
    await browser?.close();
    await server.kill();
    await dir.remove();
  };
  try {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
    const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, colorScheme: 'dark' });
    await page.goto(`http://${address}/?folder=${encodeURIComponent(folder)}`);
    const isUp = () => page.locator('.monaco-workbench .part.activitybar').waitFor({ timeout: 60_000 });
    await isUp();
    const reload = async (): Promise<void> => {
      await page.reload();
      await isUp();
    };
    return { page, folder, reload, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
