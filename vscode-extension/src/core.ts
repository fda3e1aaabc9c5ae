/** Core is large: it is loaded when a view opens or a command runs, never while the editor starts. */
export type Core = typeof import('@dmaas/core');

let loading: Promise<Core> | undefined;

export function loadCore(): Promise<Core> {
  loading ??= import('@dmaas/core');
  return loading;
}
