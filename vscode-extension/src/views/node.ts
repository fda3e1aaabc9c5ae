import type { AppSummary, FileInfo, LocatedBackup, ObjectRef } from '@dmaas/core';
import type { LocationState } from '../catalog.ts';
import type { KnownLocation } from '../locations.ts';

/** How a node looks, as plain values: a codicon and the theme's colour of it, and the words that menus match (`context`). */
export interface Shown {
  readonly label: string;
  readonly description?: string;
  readonly icon?: string;
  readonly color?: string;
  /** Markdown. */
  readonly tooltip?: string;
  readonly context: string;
  /** Read out instead of the label, where that alone says too little. */
  readonly spoken?: string;
  /** Runs with the node when it is clicked. */
  readonly command?: string;
  /** Path whose name gives the icon, as the file icon theme has it. */
  readonly fileName?: string;
  readonly opens?: 'collapsed' | 'expanded';
}

/** What commands work with. */
export type Subject =
  | { readonly kind: 'cluster'; readonly context: string }
  | { readonly kind: 'namespace'; readonly context: string; readonly namespace: string }
  | {
      readonly kind: 'app';
      readonly context: string;
      readonly app: Pick<AppSummary, 'name' | 'namespace' | 'selector'>;
      readonly latest?: BackupSubject;
    }
  | { readonly kind: 'claim'; readonly name: string }
  | { readonly kind: 'group'; readonly name: string }
  | BackupSubject
  | { readonly kind: 'resources'; readonly backup: BackupSubject }
  | { readonly kind: 'resource'; readonly backup: BackupSubject; readonly ref: ObjectRef }
  | { readonly kind: 'volumes'; readonly backup: BackupSubject }
  | {
      readonly kind: 'volume';
      readonly backup: BackupSubject;
      readonly claim: string;
      readonly mode: 'filesystem' | 'block';
      readonly bytes: number;
    }
  | FileSubject
  | { readonly kind: 'more'; readonly folder: Folder }
  | { readonly kind: 'location'; readonly state: LocationState }
  | { readonly kind: 'operation'; readonly id: string }
  | { readonly kind: 'problem'; readonly retry: () => unknown };

export interface BackupSubject {
  readonly kind: 'backup';
  readonly location: KnownLocation;
  readonly located: LocatedBackup;
}

export interface FileSubject {
  readonly kind: 'file';
  readonly backup: BackupSubject;
  readonly claim: string;
  readonly file: FileInfo;
}

/** A directory of which only so many entries are listed. */
export interface Folder {
  limit: number;
}

export interface TreeNode {
  /** Stable over refreshes and restarts, unique in its view. */
  readonly id: string;
  readonly shown: Shown;
  readonly subject: Subject;
  children?(): Promise<readonly TreeNode[]>;
  parent?: TreeNode;
}

export type NodeOf<K extends Subject['kind']> = TreeNode & { readonly subject: Extract<Subject, { readonly kind: K }> };

export function isNode<K extends Subject['kind']>(value: unknown, ...kinds: readonly K[]): value is NodeOf<K> {
  const subject = typeof value === 'object' && value !== null && 'subject' in value ? (value as TreeNode).subject : undefined;
  return subject !== undefined && (kinds as readonly string[]).includes(subject.kind);
}
