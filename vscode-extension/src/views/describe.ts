/** How applications, backups and what is in them look in the views. Pure: made of core's values, and known to no editor. */
import type { AppSummary, AppVolume, Backup, FileInfo, ObjectRef, Protection, VolumeRecord } from '@dmaas/core';
import type { Core } from '../core.ts';
import type { Shown } from './node.ts';

const OK = 'testing.iconPassed';
const WARNING = 'list.warningForeground';
const ERROR = 'list.errorForeground';

/** What describing takes of core. */
type Format = Pick<Core, 'formatAge' | 'formatBytes' | 'formatDuration' | 'plural' | 'refName'>;

export function describeApp(f: Format, app: AppSummary, protection: Protection | 'unknown', now: Date): Shown {
  const isKnown = protection !== 'unknown';
  const latest = isKnown ? protection.latest?.backup : undefined;
  const age = latest === undefined ? undefined : f.formatAge(latest.createdAt, now);
  const state = !isKnown
    ? ''
    : latest === undefined
      ? 'not backed up'
      : `backed up ${age ?? ''} ago${protection.state === 'partial' ? ', partly' : ''}`;
  const volumes = f.plural(app.volumes, 'volume');
  const color = !isKnown ? undefined : protection.state === 'complete' ? OK : WARNING;
  return {
    label: app.name,
    description: [state, volumes].filter((text) => text !== '').join(' · '),
    icon: 'package',
    ...(color === undefined ? {} : { color }),
    tooltip: [
      `**${app.name}** in namespace ${app.namespace}`,
      `${volumes}, ${f.formatBytes(app.sizeBytes)} of capacity`,
      `Selected by \`${app.selectedBy}\``,
      ...(app.workloads.length === 0 ? [] : [app.workloads.map((w) => f.refName(w)).join(', ')]),
      ...(latest === undefined ? [] : [`Last backup: ${latest.name}, ${latest.createdAt}`]),
      ...app.findings.map(({ message }) => `⚠ ${message}`),
    ].join('\n\n'),
    context: ['app', latest === undefined ? 'unprotected' : 'protected', ...(app.findings.length > 0 ? ['findings'] : [])].join(' '),
    spoken: `Application ${app.name}, ${volumes}${state === '' ? '' : `, ${state}`}`,
    opens: 'collapsed',
  };
}

export function describeClaim(f: Format, volume: AppVolume): Shown {
  return {
    label: volume.claim.name,
    description: [f.formatBytes(volume.capacityBytes), volume.storageClass, ...(volume.phase === 'Bound' ? [] : [volume.phase])]
      .filter((text) => text !== '')
      .join(' · '),
    icon: 'database',
    ...(volume.phase === 'Bound' ? {} : { color: WARNING }),
    tooltip: [
      `**${volume.claim.name}**: ${volume.mode}, ${volume.accessModes.join(', ')}, ${volume.phase}`,
      ...(volume.driver === undefined ? [] : [`Driver ${volume.driver}`]),
      ...(volume.consumers.length === 0 ? [] : [`Used by ${volume.consumers.map((c) => f.refName(c)).join(', ')}`]),
    ].join('\n\n'),
    context: 'claim volume',
  };
}

export function describeBackup(f: Format, backup: Backup, now: Date): Shown {
  const warnings = backup.findings.filter(({ level }) => level === 'warning');
  const isPartial = warnings.length > 0;
  const bytes = backup.volumes.reduce((sum, v) => sum + v.bytes, 0);
  const added = backup.volumes.reduce((sum, v) => sum + v.addedBytes, 0);
  const took = f.formatDuration(Date.parse(backup.createdAt) - Date.parse(backup.startedAt));
  const age = f.formatAge(backup.createdAt, now);
  return {
    label: backup.name,
    description: `${age} ago · ${f.formatBytes(bytes)}${isPartial ? ' · partial' : ''}`,
    icon: isPartial ? 'warning' : 'archive',
    color: isPartial ? WARNING : OK,
    tooltip: [
      `**${backup.name}** of ${backup.app.name}, cluster ${backup.cluster.context}`,
      `Made ${backup.createdAt} in ${took} by ${backup.tool}`,
      `${f.plural(backup.members, 'object')}, ${f.plural(backup.volumes.length, 'volume')}, ${f.formatBytes(bytes)} of data, ${f.formatBytes(added)} new`,
      ...warnings.map(({ message }) => `⚠ ${message}`),
    ].join('\n\n'),
    context: ['backup', isPartial ? 'partial' : 'completed', ...(backup.findings.length > 0 ? ['findings'] : [])].join(' '),
    spoken: `Backup ${backup.name}, ${age} old, ${isPartial ? 'partial' : 'complete'}`,
    opens: 'collapsed',
  };
}

export function describeResource(ref: ObjectRef): Shown {
  return { label: ref.name, icon: 'file-code', context: 'resource', command: 'dmaas.openManifest', spoken: `${ref.kind} ${ref.name}` };
}

export function describeVolume(f: Format, volume: VolumeRecord): Shown {
  const isBlock = volume.mode === 'block';
  return {
    label: volume.claim,
    description: [f.formatBytes(volume.bytes), isBlock ? 'block device' : f.plural(volume.files, 'file')].join(' · '),
    icon: 'database',
    tooltip: [
      `**${volume.claim}**: ${f.formatBytes(volume.bytes)} of data, ${f.formatBytes(volume.addedBytes)} of it new in this backup`,
      `${volume.method === 'live' ? 'Read while in use, from' : 'As it was at'} ${volume.consistentAt}`,
      ...(volume.storageClass === '' ? [] : [`Storage class ${volume.storageClass}`]),
    ].join('\n\n'),
    context: isBlock ? 'volume device' : 'volume',
    ...(isBlock ? {} : { opens: 'collapsed' as const }),
  };
}

export function describeFile(f: Format, file: FileInfo): Shown {
  switch (file.type) {
    case 'directory':
      return { label: file.name, icon: 'folder', fileName: file.path, context: 'folder', opens: 'collapsed' };
    case 'file':
      return {
        label: file.name,
        description: f.formatBytes(file.sizeBytes),
        icon: 'file',
        fileName: file.path,
        tooltip: `${file.path}\n\n${f.formatBytes(file.sizeBytes)}, changed ${new Date(file.mtimeMs).toISOString()}`,
        context: 'file',
        command: 'dmaas.openFile',
      };
    case 'symlink':
      return { label: file.name, description: `→ ${file.target ?? ''}`, icon: 'file-symlink-file', context: 'symlink' };
    default:
      return { label: file.name, description: file.type, icon: 'file-binary', context: 'special' };
  }
}

export function describeProblem(message: string, hint: string | undefined): Shown {
  return {
    label: message,
    icon: 'error',
    color: ERROR,
    tooltip: hint === undefined ? message : `${message}\n\n${hint}`,
    context: 'problem',
    command: 'dmaas.retry',
    spoken: `Problem: ${message}. Press Enter to try again`,
  };
}
