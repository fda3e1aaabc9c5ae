import { parseAllDocuments, parse as parseYaml } from 'yaml';
import * as z from 'zod';
import { labelMatcher } from '../cluster/selector.ts';
import { selectorText } from '../discovery/edges.ts';
import { idOfKind } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { DmaasError } from '../errors.ts';
import { groupOf } from '../model.ts';
import type { KubeObject, ResourceKind } from '../model.ts';
import { applyJsonPatch, PatchError } from './json-patch.ts';
import type { JsonOperation } from './json-patch.ts';
import { mergePatch } from './rewrite.ts';
import { strategicMerge } from './strategic-merge.ts';

/** Changes to some of a backup's objects. Plain JSON. */
export interface ObjectPatch {
  /** For messages: `fix.yaml, patch 2`. */
  readonly from: string;
  readonly target: PatchTarget;
  readonly changes: readonly PatchChange[];
}

/** What an object must be; a field that is absent is any. */
export interface PatchTarget {
  readonly kind?: string;
  readonly group?: string;
  /** `deployments.apps`, with `*` for either part. */
  readonly groupResource?: string;
  /** Regular expressions on the whole name. */
  readonly name?: string;
  readonly namespaces?: readonly string[];
  readonly labelSelector?: string;
  /** Values that must be there. */
  readonly matches?: readonly { readonly path: string; readonly value: unknown }[];
}

export type PatchChange =
  | { readonly type: 'json'; readonly operations: readonly JsonOperation[] }
  | { readonly type: 'merge'; readonly data: unknown }
  | { readonly type: 'strategic'; readonly data: unknown };

export interface Patched {
  readonly object: KubeObject;
  /** Indexes of the patches that meant this object. */
  readonly applied: readonly number[];
  /** What could not be applied, in words. */
  readonly problems: readonly string[];
}

/** Applies the patches whose targets mean the object, in order. A patch that fails changes nothing of it. Pure. */
export function applyPatches(
  object: KubeObject,
  captured: KubeObject,
  patches: readonly ObjectPatch[],
  kinds: readonly ResourceKind[],
): Patched {
  const applied: number[] = [];
  const problems: string[] = [];
  let current = object;
  for (const [i, patch] of patches.entries()) {
    if (!isMeant(current, captured, patch.target, kinds)) continue;
    applied.push(i);
    try {
      current = patch.changes.reduce(applyChange, current);
    } catch (e) {
      if (!(e instanceof PatchError)) throw e;
      problems.push(`${patch.from}: ${e.message}`);
    }
  }
  return { object: current, applied, problems };
}

function applyChange(object: KubeObject, change: PatchChange): KubeObject {
  switch (change.type) {
    case 'json':
      return applyJsonPatch(object, change.operations);
    case 'merge':
      return mergePatch(object, change.data);
    case 'strategic':
      return strategicMerge(object, change.data);
  }
}

function isMeant(object: KubeObject, captured: KubeObject, target: PatchTarget, kinds: readonly ResourceKind[]): boolean {
  const { kind, group, groupResource, name, namespaces, labelSelector, matches = [] } = target;
  const own = [object.metadata.namespace, captured.metadata.namespace];
  if (kind !== undefined && kind !== object.kind) return false;
  if (group !== undefined && group !== groupOf(object.apiVersion)) return false;
  if (groupResource !== undefined && !isResource(object, groupResource, kinds)) return false;
  const names = [object.metadata.name, captured.metadata.name];
  if (name !== undefined && !names.some((n) => new RegExp(name).test(n))) return false;
  if (namespaces !== undefined && namespaces.length > 0 && !own.some((n) => n !== undefined && namespaces.includes(n))) return false;
  if (labelSelector !== undefined && !labelMatcher(labelSelector)(object.metadata.labels)) return false;
  return matches.every(({ path, value }) => hasValue(object, path, value));
}

function hasValue(object: KubeObject, path: string, value: unknown): boolean {
  try {
    applyJsonPatch(object, [{ op: 'test', path, value }]);
    return true;
  } catch (e) {
    if (e instanceof PatchError) return false;
    throw e;
  }
}

function isResource(object: KubeObject, groupResource: string, kinds: readonly ResourceKind[]): boolean {
  const [resource = '', ...rest] = groupResource.split('.');
  const group = rest.join('.');
  const served = kinds.find((k) => idOfKind(k) === kindId(object));
  const plural = served?.plural ?? `${object.kind.toLowerCase()}s`;
  return (resource === '*' || resource === plural) && (group === '*' || group === groupOf(object.apiVersion));
}

// Reading patch files

const text = z.string();
const operation = z.looseObject({
  op: z.enum(['add', 'remove', 'replace', 'move', 'copy', 'test']),
  path: text,
  from: text.optional(),
  value: z.unknown().optional(),
});
const selector = z.looseObject({ matchLabels: z.record(text, text).optional(), matchExpressions: z.array(z.looseObject({})).optional() });
const veleroSchema = z.looseObject({
  version: z.enum(['v1']),
  resourceModifierRules: z.array(
    z.looseObject({
      conditions: z.looseObject({
        groupResource: text,
        resourceNameRegex: text.optional(),
        namespaces: z.array(text).optional(),
        labelSelector: selector.optional(),
        matches: z.array(z.looseObject({ path: text, value: z.unknown().optional() })).optional(),
      }),
      patches: z
        .array(z.looseObject({ operation: operation.shape.op, path: text, from: text.optional(), value: z.unknown().optional() }))
        .optional(),
      mergePatches: z.array(z.looseObject({ patchData: text })).optional(),
      strategicPatches: z.array(z.looseObject({ patchData: text })).optional(),
    }),
  ),
});
const kustomizeSchema = z.looseObject({
  patches: z.array(
    z.looseObject({
      target: z
        .looseObject({
          group: text.optional(),
          kind: text.optional(),
          name: text.optional(),
          namespace: text.optional(),
          labelSelector: text.optional(),
        })
        .optional(),
      patch: z.union([text, z.array(operation), z.looseObject({})]),
    }),
  ),
});
const objectSchema = z.looseObject({ apiVersion: text, kind: text, metadata: z.looseObject({ name: text }) });

/**
 * Reads a file of patches: Velero's resource modifiers (`resourceModifierRules`), kustomize's `patches`, or objects to be merged strategically, one a
 * document. `file` is its name, for messages. Throws USAGE.
 */
export function parsePatches(content: string, file: string): readonly ObjectPatch[] {
  let documents: readonly unknown[];
  try {
    documents = parseAllDocuments(content).map((d) => {
      if (d.errors[0] !== undefined) throw d.errors[0];
      return d.toJS() as unknown;
    });
  } catch (cause) {
    throw new DmaasError('USAGE', `${file} is neither YAML nor JSON`, { cause });
  }
  const patches = documents.filter((d) => d !== null).flatMap((d) => patchesIn(d, file));
  if (patches.length === 0) throw new DmaasError('USAGE', `${file} holds no patches`, { hint: FORMS });
  return patches.map((patch, i) => ({ ...patch, from: `${file}, patch ${String(i + 1)}` }));
}

const FORMS =
  'it may hold resourceModifierRules as for Velero, patches as for kustomize, or objects that are merged over those of their name';

function patchesIn(document: unknown, file: string): readonly Omit<ObjectPatch, 'from'>[] {
  // The value of kustomize's field, in a file of its own.
  if (Array.isArray(document)) return patchesIn({ patches: document }, file);
  const has = (field: string) => typeof document === 'object' && document !== null && field in document;
  const read = <T>(schema: z.ZodType<T>): T => {
    const parsed = schema.safeParse(document);
    if (parsed.success) return parsed.data;
    const where = parsed.error.issues[0]?.path.join('.') ?? '';
    throw new DmaasError('USAGE', `${file}: ${where === '' ? 'this is no patch' : `${where} is missing or not valid`}`, { hint: FORMS });
  };
  if (has('resourceModifierRules')) return read(veleroSchema).resourceModifierRules.map((rule) => ofVelero(rule, file));
  if (has('patches')) return read(kustomizeSchema).patches.map((entry) => ofKustomize(entry, file));
  const data = read(objectSchema);
  return [{ target: targetOf(data), changes: [{ type: 'strategic', data: withoutName(data) }] }];
}

function targetOf(data: z.infer<typeof objectSchema>): PatchTarget {
  return { kind: data.kind, group: groupOf(data.apiVersion), name: whole(data.metadata.name) };
}

/** What names the object is not to be merged into it: it may have another name or version by now. */
function withoutName(data: z.infer<typeof objectSchema>): unknown {
  const { apiVersion: _a, kind: _k, metadata, ...rest } = data;
  const { name: _n, namespace: _s, ...meta } = metadata;
  return Object.keys(meta).length === 0 ? rest : { ...rest, metadata: meta };
}

function whole(name: string): string {
  return checked(`^(?:${name})$`, name);
}

function checked(expression: string, shown = expression): string {
  try {
    new RegExp(expression);
  } catch (cause) {
    throw new DmaasError('USAGE', `"${shown}" is not a regular expression`, { cause });
  }
  return expression;
}

type VeleroRule = z.infer<typeof veleroSchema>['resourceModifierRules'][number];

function ofVelero({ conditions, patches, mergePatches, strategicPatches }: VeleroRule, file: string): Omit<ObjectPatch, 'from'> {
  const { groupResource, resourceNameRegex, namespaces, labelSelector, matches } = conditions;
  const operations = (patches ?? []).map(({ operation: op, path, from, value }) => ({
    op,
    path,
    ...(from === undefined ? {} : { from }),
    ...(value === undefined ? {} : { value: veleroValue(value) }),
  }));
  const dataOf = (list: readonly { readonly patchData: string }[] = []) => list.map(({ patchData }) => parsedData(patchData, file));
  return {
    target: {
      groupResource,
      ...(resourceNameRegex === undefined ? {} : { name: checked(resourceNameRegex) }),
      ...(namespaces === undefined ? {} : { namespaces }),
      ...(labelSelector === undefined ? {} : { labelSelector: selectorText(labelSelector) }),
      ...(matches === undefined ? {} : { matches: matches.map(({ path, value }) => ({ path, value: veleroValue(value) })) }),
    },
    changes: [
      ...(operations.length === 0 ? [] : [{ type: 'json', operations } as const]),
      ...dataOf(mergePatches).map((data) => ({ type: 'merge', data }) as const),
      ...dataOf(strategicPatches).map((data) => ({ type: 'strategic', data }) as const),
    ],
  };
}

/** Velero writes every value as text; what reads as JSON other than text is that. */
function veleroValue(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

function parsedData(data: string, file: string): unknown {
  try {
    return parseYaml(data) as unknown;
  } catch (cause) {
    throw new DmaasError('USAGE', `${file}: a patchData is neither YAML nor JSON`, { cause });
  }
}

type KustomizeEntry = z.infer<typeof kustomizeSchema>['patches'][number];

function ofKustomize({ target, patch }: KustomizeEntry, file: string): Omit<ObjectPatch, 'from'> {
  const data = typeof patch === 'string' ? parsedData(patch, file) : patch;
  if (Array.isArray(data)) {
    const operations = z.array(operation).safeParse(data);
    if (!operations.success) throw new DmaasError('USAGE', `${file}: a patch is no list of operations of a JSON patch`, { hint: FORMS });
    if (target === undefined)
      throw new DmaasError('USAGE', `${file}: a JSON patch does not say what it is for`, { hint: 'add target: {kind, name}' });
    return { target: ofTarget(target), changes: [{ type: 'json', operations: operations.data as readonly JsonOperation[] }] };
  }
  const object = objectSchema.safeParse(data);
  if (target === undefined && !object.success)
    throw new DmaasError('USAGE', `${file}: a patch does not say what it is for`, { hint: 'add target: {kind, name}' });
  const named = object.success ? object.data : undefined;
  return {
    target: target === undefined && named !== undefined ? targetOf(named) : ofTarget(target ?? {}),
    changes: [{ type: 'strategic', data: named === undefined ? data : withoutName(named) }],
  };
}

function ofTarget({ group, kind, name, namespace, labelSelector }: NonNullable<KustomizeEntry['target']>): PatchTarget {
  return {
    ...(group === undefined ? {} : { group }),
    ...(kind === undefined ? {} : { kind }),
    ...(name === undefined ? {} : { name: whole(name) }),
    ...(namespace === undefined ? {} : { namespaces: [namespace] }),
    ...(labelSelector === undefined ? {} : { labelSelector }),
  };
}
