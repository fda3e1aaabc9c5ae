import { workspace } from 'vscode';

const MIB = 1 << 20;

const read = <T>(name: string): T | undefined => workspace.getConfiguration('dmaas').get<T>(name);
const text = (name: string): string | undefined => {
  const value = read<string>(name)?.trim();
  return value === undefined || value === '' ? undefined : value;
};

/** What users set. Read anew each time: a change holds for what is done next. */
export const settings = {
  get kubeconfig(): string | undefined {
    return text('kubeconfig');
  },
  get contexts(): readonly string[] {
    return read<readonly string[]>('contexts') ?? [];
  },
  get homeNamespace(): string {
    return text('homeNamespace') ?? 'dmaas';
  },
  get moverImage(): string | undefined {
    return text('moverImage') ?? process.env['DMAAS_MOVER_IMAGE'];
  },
  get maxMovers(): number {
    return read<number>('maxMovers') ?? 4;
  },
  get maxFileBytes(): number {
    return (read<number>('browse.maxFileSizeMiB') ?? 50) * MIB;
  },
  get opensTimeline(): boolean {
    return read<boolean>('restore.openTimeline') ?? true;
  },
} as const;
