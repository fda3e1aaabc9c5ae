import type { KubeObject, ResourceKind } from '../model.ts';
import { idOfKind } from './inventory.ts';
import { kindId } from './pod-template.ts';
import { kindsNamed } from './kind-names.ts';

/** Compiles `KIND` or `KIND/NAME`: the kind as kubectl takes it, or `*`; in the name `*` stands for any run of characters. */
export function objectMatcher(pattern: string, kinds: readonly ResourceKind[]): (object: KubeObject) => boolean {
  const word = kindOfPattern(pattern);
  const namePattern = wildcard(word.length === pattern.length ? '*' : pattern.slice(word.length + 1));
  const ids = new Set(kindsNamed(kinds, word).map(idOfKind));
  // Kinds that the cluster does not serve can be named too: to leave them out of a restore is the way past that.
  const isKind = (o: KubeObject): boolean => word === '*' || ids.has(kindId(o)) || o.kind.toLowerCase() === word.toLowerCase();
  return (object) => isKind(object) && namePattern.test(object.metadata.name);
}

export function kindOfPattern(pattern: string): string {
  const slash = pattern.indexOf('/');
  return slash < 0 ? pattern : pattern.slice(0, slash);
}

/** `*` stands for any run of characters. */
export function wildcard(pattern: string): RegExp {
  const escaped = pattern.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('.*')}$`);
}
