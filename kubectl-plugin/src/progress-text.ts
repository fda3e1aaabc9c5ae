import { formatBytes, type DmaasEvent } from '@dmaas/core';

/** One line for a step. */
export function stepText(event: Extract<DmaasEvent, { type: 'step' }>): string {
  const mark = { start: '…', done: '✔', skipped: '-', failed: '✖' }[event.state];
  return `${mark} ${event.title}${event.reason === undefined ? '' : `: ${event.reason}`}`;
}

/** One line for a volume: a bar where it is known how much there is. */
export function volumeText(event: Extract<DmaasEvent, { type: 'bytes' }>): string {
  const share = event.total === undefined || event.total === 0 ? undefined : Math.min(1, event.done / event.total);
  const bar =
    share === undefined ? '' : `${'█'.repeat(Math.round(share * 16)).padEnd(16, '░')} ${`${Math.floor(share * 100)}%`.padStart(4)}  `;
  const amount = event.total === undefined ? formatBytes(event.done) : `${formatBytes(event.done)}/${formatBytes(event.total)}`;
  return `${event.volume}  ${bar}${amount}${event.added > 0 ? ` (${formatBytes(event.added)} new)` : ''}`;
}
