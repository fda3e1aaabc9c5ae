import { randomBytes } from 'node:crypto';
import { commands, ThemeIcon, Uri, ViewColumn, window, type Disposable, type WebviewPanel, type WebviewPanelSerializer } from 'vscode';
import type { Operation, Operations } from '../operations.ts';
import { afterInterruption, type TimelineState } from './state.ts';

const TYPE = 'dmaas.timeline';
/** Movers tell of every few megabytes; an eye sees ten pictures a second. */
const DRAW_MS = 100;

/** From the page: it is ready for a state, or a button was pressed. */
type Message = { readonly type: 'ready' } | { readonly type: 'command'; readonly command: string };

const COMMANDS = ['dmaas.stop', 'dmaas.resume', 'dmaas.undoRestore', 'dmaas.showLog'];

/** The timelines of operations, each in a panel of the editor; after a restart as they were last seen. */
export class Timelines implements WebviewPanelSerializer<TimelineState> {
  readonly #operations: Operations;
  readonly #media: Uri;
  readonly #panels = new Map<string, WebviewPanel>();

  constructor(operations: Operations, extensionUri: Uri) {
    this.#operations = operations;
    this.#media = Uri.joinPath(extensionUri, 'dist');
  }

  register(): Disposable {
    return window.registerWebviewPanelSerializer(TYPE, this);
  }

  show(operation: Operation): void {
    const open = this.#panels.get(operation.id);
    if (open !== undefined) {
      open.reveal();
      return;
    }
    const panel = window.createWebviewPanel(TYPE, operation.state.title, ViewColumn.Active, {
      localResourceRoots: [this.#media],
      enableScripts: true,
    });
    this.#fill(panel, operation.id, () => this.#operations.get(operation.id)?.state);
  }

  deserializeWebviewPanel(panel: WebviewPanel, kept: TimelineState | undefined): Promise<void> {
    if (kept === undefined) panel.dispose();
    else
      this.#fill(panel, kept.id, () => {
        const known = this.#operations.get(kept.id)?.state;
        // What was last drawn has more in it than what was remembered when the operation began.
        return known?.outcome === 'interrupted' || known === undefined ? afterInterruption(kept, known?.canResume ?? false) : known;
      });
    return Promise.resolve();
  }

  #fill(panel: WebviewPanel, id: string, state: () => TimelineState | undefined): void {
    this.#panels.set(id, panel);
    panel.iconPath = new ThemeIcon('milestone');
    const { webview } = panel;
    webview.options = { localResourceRoots: [this.#media], enableScripts: true };
    let drawn = 0;
    let timer: NodeJS.Timeout | undefined;
    const draw = (): void => {
      timer = undefined;
      drawn = Date.now();
      const now = state();
      if (now !== undefined) void webview.postMessage(now);
    };
    const subscriptions = [
      this.#operations.onDidChange((changed) => {
        if (changed.id === id) timer ??= setTimeout(draw, Math.max(0, drawn + DRAW_MS - Date.now()));
      }),
      webview.onDidReceiveMessage((message: Message) => {
        if (message.type === 'ready') draw();
        else if (COMMANDS.includes(message.command)) void commands.executeCommand(message.command, id);
      }),
    ];
    panel.onDidDispose(() => {
      clearTimeout(timer);
      for (const subscription of subscriptions) subscription.dispose();
      this.#panels.delete(id);
    });
    const script = webview.asWebviewUri(Uri.joinPath(this.#media, 'timeline.js'));
    const style = webview.asWebviewUri(Uri.joinPath(this.#media, 'timeline.css'));
    webview.html = page(String(script), String(style), webview.cspSource);
  }
}

function page(script: string, style: string, source: string): string {
  const nonce = randomBytes(16).toString('base64');
  const policy = `default-src 'none'; style-src ${source}; script-src 'nonce-${nonce}'`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${style}">
<title>Timeline</title>
</head>
<body>
<main id="timeline"></main>
<div id="announcer" role="status" aria-live="polite"></div>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}
