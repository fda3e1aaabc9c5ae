import { open as openFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { ProgressLocation, Uri, window, workspace } from 'vscode';
import type { OpenBackup } from '@dmaas/core';
import { loadCore } from '../core.ts';
import { isCancelled } from '../reporter.ts';
import type { Services } from '../services.ts';
import { isNode, type BackupSubject } from '../views/node.ts';

interface Source {
  readonly backup: BackupSubject;
  readonly claim: string;
  /** As core shows it; `.` is a block device. */
  readonly path: string;
  readonly name: string;
  readonly bytes: number;
}

/** Writes a file or a device of a backup to this machine, as it comes from the bucket. Under its name when all of it is there. */
export async function saveFile(services: Services, node: unknown): Promise<void> {
  const source = sourceOf(node);
  if (source === undefined) return;
  const folder = workspace.workspaceFolders?.[0]?.uri ?? Uri.file(homedir());
  const target = await window.showSaveDialog({ defaultUri: Uri.joinPath(folder, source.name), saveLabel: 'Save' });
  if (target === undefined) return;
  const open = await services.open.fresh(source.backup);
  try {
    const { formatBytes } = await loadCore();
    const isDone = await window.withProgress(
      { location: ProgressLocation.Notification, title: `Saving ${source.name}`, cancellable: true },
      async (progress, token) => {
        const stop = new AbortController();
        token.onCancellationRequested(() => {
          stop.abort();
        });
        let shown = 0;
        return write(open, source, target.fsPath, stop.signal, (done) => {
          const increment = source.bytes === 0 ? 0 : (100 * (done - shown)) / source.bytes;
          if (increment < 1 && done < source.bytes) return;
          shown = done;
          progress.report({ increment, message: `${formatBytes(done)} of ${formatBytes(source.bytes)}` });
        });
      },
    );
    if (isDone) void window.showInformationMessage(`${source.name} is saved as ${target.fsPath}.`);
  } finally {
    await open.close();
  }
}

function sourceOf(node: unknown): Source | undefined {
  if (isNode(node, 'file')) {
    const { backup, claim, file } = node.subject;
    return { backup, claim, path: file.path, name: file.name, bytes: file.sizeBytes };
  }
  if (!isNode(node, 'volume') || node.subject.mode !== 'block') return undefined;
  const { backup, claim, bytes } = node.subject;
  return { backup, claim, path: '.', name: `${claim}.img`, bytes };
}

/** @returns whether all of it was written; not when the user stopped it. */
async function write(
  open: OpenBackup,
  source: Source,
  target: string,
  signal: AbortSignal,
  onBytes: (done: number) => void,
): Promise<boolean> {
  const partial = `${target}.part`;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    let done = 0;
    for await (const part of open.read(source.claim, source.path, { signal })) {
      yield part;
      done += part.length;
      onBytes(done);
    }
  };
  try {
    // Opened before anything can stop it: what is removed below is not made again by an open that comes late.
    const file = await openFile(partial, 'w');
    await pipeline(counted, file.createWriteStream(), { signal });
    await rename(partial, target);
    return true;
  } catch (e) {
    await rm(partial, { force: true });
    if (signal.aborted || isCancelled(e)) return false;
    throw e;
  }
}
