import type { Finding } from './model.ts';

/** The phases of a backup and of a restore, in order. The three of a restore are what users see, with these titles. */
export const PHASES = {
  discover: 'Discovering application',
  preflight: 'Preflight check',
  capture: 'Capturing volumes',
  commit: 'Recording backup',
  populate: 'Restoring backups',
  activate: 'Activating application',
  cleanup: 'Cleaning up',
} as const;
export type Phase = keyof typeof PHASES;

/** What happens, as plain JSON: the CLI's `-o json` stream, the progress display and the editor's timeline consume the same values. */
export type DmaasEvent =
  | { readonly type: 'phase'; readonly phase: Phase; readonly state: 'start' | 'done' | 'failed' }
  | {
      readonly type: 'step';
      readonly phase: Phase;
      readonly title: string;
      readonly state: 'start' | 'done' | 'skipped' | 'failed';
      readonly reason?: string;
    }
  /** `done` and `total` in bytes of the source; `added` in bytes stored anew. */
  | { readonly type: 'bytes'; readonly volume: string; readonly done: number; readonly total?: number; readonly added: number }
  | { readonly type: 'finding'; readonly finding: Finding };

/** Synchronous, cheap, must not throw. Core never prints; this is its only voice besides return values. */
export type EventSink = (event: DmaasEvent) => void;

export interface RunOptions {
  readonly emit: EventSink;
  readonly signal?: AbortSignal;
}
