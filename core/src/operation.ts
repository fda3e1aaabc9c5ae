import { randomBytes } from 'node:crypto';

/** One run of a backup or restore. Every object it creates carries the operation label, so that cleanup finds them all. */
export type OperationId = string & { readonly __brand: 'OperationId' };

/** Labels and annotations of everything DMaaS creates in a cluster. */
export const LABELS = {
  /** Value: the operation id. */
  operation: 'dmaas.io/operation',
  /** Value: location, credential, mover, staged-claim, volume-snapshot, ... */
  role: 'dmaas.io/role',
  managedBy: 'app.kubernetes.io/managed-by',
} as const;
export const ANNOTATIONS = {
  /** On staged claims: the UID of the volume snapshot that they were made from. */
  snapshot: 'dmaas.io/volume-snapshot',
  /** On restored objects: the backup they came from. */
  backup: 'dmaas.io/backup',
  /** On workloads made inactive by a restore: the JSON merge patch that activates them. */
  activate: 'dmaas.io/activate',
  /** On restored claims: the root of what they were filled with, once all of it is there. */
  populated: 'dmaas.io/populated',
  /** On claims that are rewritten in place: the attempt that does, which alone may say that all of it is there. */
  rewriting: 'dmaas.io/rewriting',
  /** On claims rewritten in place: the operation, once all of it is there. */
  rewritten: 'dmaas.io/rewritten-by',
  /** On claims that were made anew by going back behind a restore in place: its operation. */
  undone: 'dmaas.io/undone',
} as const;
export const FIELD_MANAGER = 'dmaas';

/** Of what an operation makes for itself and takes away again: see `TEMPORARY_ROLES`. */
export function operationLabels(id: OperationId, role: string): Record<string, string> {
  return { [LABELS.managedBy]: 'dmaas', [LABELS.operation]: id, [LABELS.role]: role };
}

const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789'; // without i, l, o, 0 and 1, which are misread
export const OPERATION_ID_LENGTH = 8;

/** 8 letters and digits, 40 bits: short enough for every derived object name, unique enough for one namespace. */
export function newOperationId(random: (n: number) => Uint8Array = randomBytes): OperationId {
  let id = '';
  while (id.length < OPERATION_ID_LENGTH) {
    for (const byte of random(OPERATION_ID_LENGTH)) {
      // Values past the last whole multiple would make some letters likelier than others.
      if (byte < 248 && id.length < OPERATION_ID_LENGTH) id += ALPHABET.charAt(byte % ALPHABET.length);
    }
  }
  // A name that starts with a letter is valid wherever Kubernetes wants a DNS label.
  return (/^[a-z]/.test(id) ? id : `x${id.slice(1)}`) as OperationId;
}

export function isOperationId(s: string): s is OperationId {
  return new RegExp(`^[a-z][${ALPHABET}]{${String(OPERATION_ID_LENGTH - 1)}}$`).test(s);
}

/**
 * Name of an object that an operation creates for its `index`-th volume: `dmaas-<id>-<role>-<index>`. At most 63 characters
 * whatever the index, which is also the budget of a Job's pod names and of label values.
 */
export function operationObjectName(id: OperationId, role: string, index: number): string {
  return `dmaas-${id}-${role}-${String(index)}`;
}
