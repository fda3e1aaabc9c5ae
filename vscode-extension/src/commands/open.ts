import { commands, Uri, window, workspace, type TextDocumentContentProvider } from 'vscode';
import { loadCore } from '../core.ts';
import { uriOf } from '../files/file-system.ts';
import type { Services } from '../services.ts';
import { settings } from '../settings.ts';
import { isNode, type BackupSubject } from '../views/node.ts';
import { saveFile } from './save.ts';

const TEXT_SCHEME = 'dmaas-plan';
/** Plans that were opened, by address. Not kept over a restart: facts have moved by then. */
const texts = new Map<string, string>();

export const planDocuments: TextDocumentContentProvider = {
  provideTextDocumentContent: (uri) => texts.get(uri.toString()) ?? '# This plan was of an earlier session. Plan again to see it.\n',
};

export const PLAN_SCHEME = TEXT_SCHEME;

/** Opens a value as a YAML document that cannot be edited. */
export async function openYaml(title: string, value: unknown): Promise<void> {
  const { toYaml } = await loadCore();
  const uri = Uri.from({ scheme: TEXT_SCHEME, path: `/${title}.yaml` });
  texts.set(uri.toString(), toYaml(value));
  await window.showTextDocument(await workspace.openTextDocument(uri), { preview: true });
}

export async function openManifest(services: Services, node: unknown): Promise<void> {
  if (!isNode(node, 'resource')) return;
  const { backup, ref } = node.subject;
  await services.open.get(backup); // what is wrong is said in a message, not in an editor
  await commands.executeCommand('vscode.open', uriOf({ ...within(backup), view: 'manifest', ref }), { preview: true });
}

/** Shows how an object that runs differs from the backed up one, without what servers and controllers write. */
export async function compareWithLive(services: Services, node: unknown): Promise<void> {
  if (!isNode(node, 'resource')) return;
  const core = await loadCore();
  const { backup, ref } = node.subject;
  const { cluster: source } = backup.located.backup;
  const context = await services.session.contextOf(source.id, source.context);
  if (context === undefined) {
    throw new core.DmaasError(
      'CLUSTER_UNREACHABLE',
      `no context that answers is the cluster ${source.context} that this was backed up from`,
      {
        hint: 'kubectl config get-contexts',
      },
    );
  }
  const live = await core.liveComparable(await services.session.cluster(context), ref);
  if (live === undefined) {
    void window.showInformationMessage(
      `${core.refName(ref, true)} of ${context} does not exist any more: there is nothing to compare with.`,
    );
    return;
  }
  const [left, right] = [uriOf({ ...within(backup), view: 'comparable', ref }), uriOf({ ...within(backup), view: 'live', context, ref })];
  await commands.executeCommand('vscode.diff', left, right, `${core.refName(ref)}: ${backup.located.backup.name} ↔ live in ${context}`, {
    preview: true,
  });
}

/** Opens a file of a volume; one that is too large for an editor can be saved. */
export async function openFile(services: Services, node: unknown): Promise<void> {
  if (!isNode(node, 'file')) return;
  const { formatBytes } = await loadCore();
  const { backup, claim, file } = node.subject;
  if (file.sizeBytes > settings.maxFileBytes) {
    const message = `${file.name} has ${formatBytes(file.sizeBytes)}. Files over ${formatBytes(settings.maxFileBytes)} are not opened in an editor.`;
    const save = 'Save As…';
    if ((await window.showWarningMessage(message, save)) === save) await saveFile(services, node);
    return;
  }
  await services.open.get(backup);
  await commands.executeCommand('vscode.open', uriOf({ ...within(backup), view: 'file', claim, path: file.path }), { preview: true });
}

function within({ location, located }: BackupSubject) {
  return { location: location.id, backup: located.backup.id };
}
