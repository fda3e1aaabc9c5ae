import { refName } from '../model.ts';
import type { ObjectRef } from '../model.ts';
import type { OperationId } from '../operation.ts';

/** Where commands in hints go: on the command line of the person who reads them. */
export interface HintTarget {
  readonly context: string;
  readonly namespace: string;
}

/** A kubectl command for the target's cluster, as it can be pasted. */
export function onTarget(command: string, { context }: { readonly context: string }): string {
  return context === 'in-cluster' ? command : `${command} --context ${context}`;
}

/** `flags`: with which the command finds the restore. */
export function resumeCommand(id: OperationId, flags: string): string {
  return `kubectl dmaas restore resume ${id} ${flags}`.trimEnd();
}

export function undoCommand(id: OperationId, flags: string): string {
  return `kubectl dmaas restore delete ${id} ${flags}`.trimEnd();
}

/** The first names of a list, and how many more there are. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ');
  return names.length <= 5 ? shown : `${shown} and ${String(names.length - 5)} more`;
}

/** A message that names the object which it is about, once. */
export function about(ref: ObjectRef, message: string): string {
  return message.includes(refName(ref)) ? message : `${refName(ref)}: ${message}`;
}
