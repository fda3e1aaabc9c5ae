import { commands, ConfigurationTarget, Uri, window, workspace } from 'vscode';
import type { CredentialValues, LocationDocument } from '@dmaas/core';
import { loadCore } from '../core.ts';
import { holdsKeys, nameOf, readDocument, type KnownLocation } from '../locations.ts';
import { sentence } from '../reporter.ts';
import type { Services } from '../services.ts';
import { isNode } from '../views/node.ts';
import { askText, walk, type Step } from '../wizard.ts';

/** Opens what `kubectl dmaas location export` wrote, so that a bucket can be looked into when the cluster is gone. */
export async function openLocationFile(services: Services, given: unknown): Promise<void> {
  const uri =
    given instanceof Uri
      ? given
      : (
          await window.showOpenDialog({
            title: 'Exported location',
            openLabel: 'Open Location',
            filters: { 'Exported location': ['yaml', 'yml', 'json'], 'All files': ['*'] },
          })
        )?.[0];
  if (uri === undefined) return;
  const document = await readDocument(uri.fsPath);
  const location = await services.files.add(uri.fsPath);
  if (!holdsKeys(document)) await enterKeys(services, location);
  await commands.executeCommand('dmaas.backups.focus');
}

/** Asks for the access keys of a location file. They go to the secret storage, and nowhere else. */
export async function enterKeys(services: Services, given: unknown): Promise<void> {
  const location = isNode(given, 'location') ? given.subject.state.location : (given as KnownLocation | undefined);
  if (location?.origin.kind !== 'file') return;
  const { path } = location.origin;
  const values = await askKeys(await readDocument(path));
  if (values !== undefined) await services.files.keepKeys(path, values);
}

async function askKeys({ name, bucket, credential }: LocationDocument): Promise<CredentialValues | undefined> {
  const { parseCredentialValues } = await loadCore();
  const { title: _title, kind, ...open } = credential;
  if (kind === 'gcp') {
    const file = (
      await window.showOpenDialog({
        title: `Key file of the service account for ${bucket}`,
        openLabel: 'Use Key File',
        filters: { 'Key file': ['json'] },
      })
    )?.[0];
    if (file === undefined) return undefined;
    return parseCredentialValues({ ...open, kind, serviceAccount: Buffer.from(await workspace.fs.readFile(file)).toString() });
  }
  type Keys = { readonly accessKeyId?: string; readonly secretAccessKey?: string };
  const title = `Access Keys of Location ${name}`;
  const steps: readonly Step<Keys>[] = [
    {
      ask: async (keys, at) => {
        const answer = await askText({ title, ...at, prompt: `Access key id for bucket ${bucket}` });
        return typeof answer === 'object' ? { value: { ...keys, accessKeyId: answer.value } } : answer;
      },
    },
    {
      ask: async (keys, at) => {
        const answer = await askText({
          title,
          ...at,
          prompt: 'Secret access key. It is kept in the secret storage of the editor',
          isSecret: true,
        });
        return typeof answer === 'object' ? { value: { ...keys, secretAccessKey: answer.value } } : answer;
      },
    },
  ];
  const keys = await walk<Keys>(steps, {});
  if (keys === undefined) return undefined;
  const { secretAccessKey: _old, accessKeyId: _oldId, serviceAccount: _account, ...rest } = open;
  return parseCredentialValues({ ...rest, kind, ...keys });
}

export async function removeLocationFile({ files }: Services, node: unknown): Promise<void> {
  if (isNode(node, 'location') && node.subject.state.location.origin.kind === 'file')
    await files.remove(node.subject.state.location.origin.path);
}

/** Tries in the bucket what backups rely on, and says what does not hold. */
export async function checkLocation({ files, session, inView, reporter, catalog }: Services, node: unknown): Promise<void> {
  if (!isNode(node, 'location')) return;
  const { location } = node.subject.state;
  const { checkLocation: check, plural } = await loadCore();
  const results = await inView('locations', async () => check(await files.access(location), session.stores));
  if (results === undefined) return;
  const failed = results.filter(({ ok }) => !ok);
  for (const { name, ok, detail } of results) reporter.log.info(`${nameOf(location)}: ${ok ? 'ok' : 'FAILED'}: ${name}: ${detail}`);
  const details = 'Show Log';
  const chosen =
    failed.length === 0
      ? await window.showInformationMessage(`Location ${nameOf(location)} is well: ${plural(results.length, 'check')} passed.`, details)
      : await window.showErrorMessage(
          sentence(
            `location ${nameOf(location)}: ${String(failed.length)} of ${plural(results.length, 'check')} failed: ${failed[0]?.name ?? ''}`,
          ),
          details,
        );
  if (chosen === details) reporter.log.show();
  await catalog.refreshLocation(location);
}

export async function chooseKubeconfig({ refresh }: Services): Promise<void> {
  const file = (await window.showOpenDialog({ title: 'Kubeconfig', openLabel: 'Use Kubeconfig' }))?.[0];
  if (file === undefined) return;
  await workspace.getConfiguration('dmaas').update('kubeconfig', file.fsPath, ConfigurationTarget.Global);
  await refresh();
}
