import { formatBytes, plural, redactPlan, refName, type RestorePlan } from '@dmaas/core';
import { findingLines } from './findings.ts';
import { details, table } from './output.ts';
import type { Session } from './session.ts';

/** What the confirmation of a restore asks. */
export function question(plan: RestorePlan): string {
  const stops = plan.steps.flatMap((s) => (s.do === 'stop' || s.do === 'delete-pod' ? [refName(s.ref)] : []));
  if (plan.options.inPlace !== true) return `Restore ${planSummary(plan)}?`;
  return `Restore ${planSummary(plan)}, over the data that are there${stops.length === 0 ? '' : `, while ${stops.join(', ')} ${stops.length === 1 ? 'is' : 'are'} stopped`}?`;
}

/** A plan in one line. */
export function planSummary({ steps, target, backup }: RestorePlan): string {
  const creates = steps.filter((s) => (s.do === 'apply' || s.do === 'create-claim') && s.action === 'create').length;
  const updates = steps.filter((s) => s.do === 'apply' && s.action === 'update').length;
  const bytes = steps.reduce((sum, s) => sum + (s.do === 'populate' ? s.bytes : 0), 0);
  const isInPlace = steps.some((s) => s.do === 'populate' && s.inPlace !== undefined);
  const changes = [
    ...(isInPlace ? [] : [`create ${plural(creates, 'object')}`]),
    ...(updates > 0 ? [`overwrite ${plural(updates, 'object')}`] : []),
    `${isInPlace ? 'compare' : 'fill'} ${formatBytes(bytes)} of volumes`,
  ];
  return `${backup} to namespace ${target.namespace} of ${target.context} (${changes.join(', ')})`;
}

interface PlanRow {
  readonly phase: string;
  readonly action: string;
  readonly what: string;
  readonly detail: string;
}

function planRows(plan: RestorePlan): PlanRow[] {
  return [...plan.steps, ...(plan.later ?? [])].map((s, i) => {
    const phase = i >= plan.steps.length ? 'later' : s.phase === 'populate' ? 'restore' : 'activate';
    switch (s.do) {
      case 'apply':
      case 'create-claim':
        return { phase, action: s.action, what: refName(s.ref), detail: s.reason ?? s.changes.join('; ') };
      case 'populate':
        return {
          phase,
          action: s.inPlace === undefined ? 'fill' : 'rewrite',
          what: refName(s.claim),
          detail: `${formatBytes(s.bytes)}${s.mode === 'block' ? '' : `, ${plural(s.files, 'file')}`}`,
        };
      case 'activate':
        return { phase, action: 'activate', what: refName(s.ref), detail: s.how };
      case 'wait-ready':
        return { phase, action: 'wait', what: refName(s.ref), detail: 'until ready' };
      case 'stop':
        return { phase, action: 'stop', what: refName(s.ref), detail: s.how };
      case 'start':
        return { phase, action: 'start', what: refName(s.ref), detail: 'as it was' };
      case 'delete-pod':
        return { phase, action: 'delete', what: refName(s.ref), detail: 'to be made again' };
      case 'create-pod':
        return { phase, action: 'create', what: refName(s.ref), detail: 'as it was' };
      case 'wait-unused':
        return { phase, action: 'wait', what: s.claims.map((claim) => refName(claim)).join(', '), detail: 'until no pod uses it' };
      case 'snapshot':
        return { phase, action: 'snapshot', what: refName(s.claim), detail: `to go back to: ${refName(s.ref)}` };
      case 'link-owners':
        return { phase, action: 'link', what: refName(s.ref), detail: `to ${s.owners.map((o) => refName(o.ref)).join(', ')}` };
    }
  });
}

/** A plan as a table, with its findings. */
export function showPlan(plan: RestorePlan, session: Session) {
  const blockers = plan.findings.filter((f) => f.level === 'blocker').length;
  return {
    data: redactPlan(plan),
    names: [`restore/${plan.id}`],
    text: (how: { wide: boolean; noHeaders: boolean }) =>
      [
        details([
          ['Backup', plan.backup],
          ['From', `namespace ${plan.source.namespace} of ${plan.source.cluster}`],
          ['To', `namespace ${plan.target.namespace} of ${plan.target.context}`],
        ]),
        '',
        table(planRows(plan), [
          { title: 'PHASE', cell: (r) => r.phase },
          { title: 'ACTION', cell: (r) => r.action },
          { title: 'OBJECT', cell: (r) => r.what },
          { title: 'DETAIL', cell: (r) => (how.wide || r.detail.length <= 70 ? r.detail : `${r.detail.slice(0, 69)}…`) },
        ])(how),
        ...(plan.findings.length === 0
          ? []
          : ['', 'Preflight check:', ...plan.findings.flatMap(findingLines).map((l) => `  ${session.pasteable(l)}`)]),
      ].join('\n'),
    notes: [blockers === 0 ? 'nothing was changed' : `nothing was changed; ${plural(blockers, 'problem')} must be solved first`],
    exitCode: blockers === 0 ? 0 : 40,
  };
}
