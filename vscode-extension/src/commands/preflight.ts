import { env, QuickPickItemKind, ThemeIcon, type QuickInputButton } from 'vscode';
import type { Finding } from '@dmaas/core';
import { sentence } from '../reporter.ts';
import { pick, type Answer, type Choice, type StepPlace } from '../wizard.ts';

export interface Fix<O> {
  readonly title: string;
  readonly options: O;
}

export interface Preflight<O> extends StepPlace {
  readonly findings: readonly Finding[];
  fixesOf(finding: Finding): readonly Fix<O>[];
  /** What begins when nothing stands in the way. */
  readonly start: { readonly label: string; readonly detail: string };
  /** The line that does the same in a terminal. */
  readonly commandLine: string;
  openPlan(): unknown;
}

/** What the user makes of a preflight check: begin, or check again with other options. */
export type Verdict<O> = { readonly start: true } | { readonly options: O };

const ICONS = { blocker: '$(error)', warning: '$(warning)', info: '$(info)' } as const;
const COPY: QuickInputButton = { iconPath: new ThemeIcon('copy'), tooltip: 'Copy the hint' };

/** Shows what a preflight check found as a list: what fails can be chosen, and offers what helps. */
export function reviewPreflight<O>(preflight: Preflight<O>): Promise<Answer<Verdict<O>>> {
  const { findings, start, commandLine } = preflight;
  const blockers = findings.filter(({ level }) => level === 'blocker');
  const items: Choice<Verdict<O>>[] = [
    ...(blockers.length === 0
      ? [{ label: `$(play) ${start.label}`, detail: start.detail, value: { start: true } as const }]
      : fixItems(blockers, (finding) => preflight.fixesOf(finding))),
    ...(findings.length === 0 ? [{ label: '$(pass) Nothing stands in the way' }] : []),
    ...group<O>('Problems', blockers),
    ...group<O>(
      'Warnings',
      findings.filter(({ level }) => level === 'warning'),
    ),
    ...group<O>(
      'Good to know',
      findings.filter(({ level }) => level === 'info'),
    ),
  ];
  return pick<Verdict<O>>({
    ...preflight,
    placeholder:
      blockers.length === 0
        ? 'Preflight check passed'
        : `Preflight check failed: ${String(blockers.length)} ${blockers.length === 1 ? 'problem' : 'problems'}. Nothing was changed`,
    items,
    buttons: [
      { iconPath: new ThemeIcon('open-preview'), tooltip: 'Open Plan as YAML', press: () => preflight.openPlan() },
      { iconPath: new ThemeIcon('terminal'), tooltip: 'Copy kubectl Command', press: () => env.clipboard.writeText(commandLine) },
    ],
    pressItem: ({ detail }) => env.clipboard.writeText(detail ?? ''),
  });
}

/** Each fix once: one may help against several problems. */
function fixItems<O>(blockers: readonly Finding[], fixesOf: (finding: Finding) => readonly Fix<O>[]): Choice<Verdict<O>>[] {
  const fixes = new Map(blockers.flatMap((finding) => fixesOf(finding).map((fix): [string, Fix<O>] => [fix.title, fix])));
  if (fixes.size === 0) return [];
  return [
    { label: 'What helps', kind: QuickPickItemKind.Separator },
    ...[...fixes.values()].map(({ title, options }) => ({ label: `$(lightbulb) ${title}`, detail: 'Checks again', value: { options } })),
  ];
}

function group<O>(title: string, findings: readonly Finding[]): Choice<Verdict<O>>[] {
  if (findings.length === 0) return [];
  return [
    { label: title, kind: QuickPickItemKind.Separator },
    ...findings.map(({ level, message, hint }) => ({
      label: `${ICONS[level]} ${sentence(message)}`,
      ...(hint === undefined ? {} : { detail: hint, buttons: [COPY] }),
    })),
  ];
}
