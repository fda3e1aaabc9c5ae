import type { Finding } from '@dmaas/core';
import { refName } from '@dmaas/core';

/** A finding as lines for people: what it is, and below it the next step. */
export function findingLines(finding: Finding): string[] {
  const about = finding.ref === undefined || finding.message.includes(finding.ref.name) ? '' : `${refName(finding.ref)}: `;
  const mark = { blocker: '✗', warning: '!', info: '·' }[finding.level];
  return [`${mark} ${about}${finding.message}`, ...(finding.hint === undefined ? [] : [`    hint: ${finding.hint}`])];
}

export function noteFindings(findings: readonly Finding[]): string[] {
  return findings.filter((f) => f.level !== 'info').flatMap(findingLines);
}
