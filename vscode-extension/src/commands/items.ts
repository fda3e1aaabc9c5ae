/** Small commands of nodes. */
import { env, window } from 'vscode';
import type { Finding } from '@dmaas/core';
import { loadCore } from '../core.ts';
import { referenceOf } from '../locations.ts';
import type { Services } from '../services.ts';
import { isNode } from '../views/node.ts';

export async function copyName(node: unknown): Promise<void> {
  if (isNode(node, 'app')) await env.clipboard.writeText(node.subject.app.name);
  else if (isNode(node, 'backup')) await env.clipboard.writeText(node.subject.located.backup.name);
  else if (isNode(node, 'resource')) await env.clipboard.writeText(node.subject.ref.name);
  else if (isNode(node, 'file')) await env.clipboard.writeText(node.subject.file.path);
  else if (isNode(node, 'volume')) await env.clipboard.writeText(node.subject.claim);
  else if (isNode(node, 'claim')) await env.clipboard.writeText(node.subject.name);
}

/** The `kubectl dmaas` line that backs the application up, or restores the backup. */
export async function copyCommand(services: Services, node: unknown): Promise<void> {
  const { backupCommandLine, restoreCommandLine } = await loadCore();
  let line: string;
  if (isNode(node, 'app')) {
    const { context, app } = node.subject;
    line = backupCommandLine({ context, selector: app.selector });
  } else if (isNode(node, 'backup')) {
    const { location, located } = node.subject;
    const { backup } = located;
    const context = (await services.session.contextOf(backup.cluster.id, backup.cluster.context)) ?? backup.cluster.context;
    line = restoreCommandLine({
      backupId: backup.id,
      context,
      location: referenceOf(location),
      namespace: backup.app.namespace,
      options: { activate: true },
    });
  } else return;
  await env.clipboard.writeText(line);
  window.setStatusBarMessage('$(check) Copied the kubectl command', 3000);
}

/** What is missing in an application or a backup, as a list to read; choosing one copies what helps. */
export async function showFindings(node: unknown): Promise<void> {
  const findings: readonly Finding[] = isNode(node, 'backup')
    ? node.subject.located.backup.findings
    : isNode(node, 'app') && 'findings' in node.subject.app
      ? (node.subject.app.findings as readonly Finding[])
      : [];
  const icons = { blocker: '$(error)', warning: '$(warning)', info: '$(info)' };
  const items = findings.map(({ level, message, hint }) => ({
    label: `${icons[level]} ${message}`,
    ...(hint === undefined ? {} : { detail: hint }),
  }));
  const chosen = await window.showQuickPick(items, {
    title: 'Findings',
    placeHolder: 'What is missing or differs. Choose one to copy what helps',
    matchOnDetail: true,
  });
  if (chosen?.detail !== undefined) await env.clipboard.writeText(chosen.detail);
}

export async function deleteBackup(services: Services, node: unknown): Promise<void> {
  if (!isNode(node, 'backup')) return;
  const { deleteBackup: remove } = await loadCore();
  const { location, located } = node.subject;
  const { backup } = located;
  const isLast =
    services.catalog.backups.filter(
      ({ located: other }) => other.backup.app.name === backup.app.name && other.source.namespace === located.source.namespace,
    ).length === 1;
  const detail = isLast ? `It is the only backup of ${backup.app.name}. This cannot be undone.` : 'This cannot be undone.';
  const answer = await window.showWarningMessage(`Delete backup ${backup.name}?`, { modal: true, detail }, 'Delete');
  if (answer !== 'Delete') return;
  await services.inView('backups', async () => {
    await remove(await services.files.access(location), { id: backup.id, source: located.source }, services.session.stores);
    await services.catalog.refreshLocation(location);
  });
}
