import { workspace } from 'vscode';

const MIB = 1 << 20;

const read = (name: string): unknown => workspace.getConfiguration('dmaas').get(name);
const text = (name: string): string | undefined => {
  const value = read(name);
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
};

/** What users set. Read anew each time: a change holds for what is done next. */
export const settings = {
  get kubeconfig(): string | undefined {
    return text('kubeconfig');
  },
  get contexts(): readonly string[] {
    return (read('contexts') as readonly string[] | undefined) ?? [];
  },
  get homeNamespace(): string {
    return text('homeNamespace') ?? 'dmaas';
  },
  get moverImage(): string | undefined {
    return text('moverImage') ?? process.env['DMAAS_MOVER_IMAGE'];
  },
  get maxMovers(): number {
    return (read('maxMovers') as number | undefined) ?? 4;
  },
  get maxFileBytes(): number {
    return ((read('browse.maxFileSizeMiB') as number | undefined) ?? 50) * MIB;
  },
  get opensTimeline(): boolean {
    return (read('restore.openTimeline') as boolean | undefined) ?? true;
  },
} as const;
