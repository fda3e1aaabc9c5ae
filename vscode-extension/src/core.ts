import type * as core from '@dmaas/core';

/** Core is large: it is loaded when a view opens or a command runs, never while the editor starts. */
export type Core = typeof core;

let loading: Promise<Core> | undefined;

export function loadCore(): Promise<Core> {
  loading ??= import('@dmaas/core');
  return loading;
}
