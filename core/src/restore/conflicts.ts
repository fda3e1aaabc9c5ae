import { kindId } from '../discovery/pod-template.ts';
import { at, listAt, mapAt } from '../discovery/read.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { ANNOTATIONS, LABELS } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { describeDiff } from './diff.ts';
import type { ConflictPolicy, Observed, StepAction } from './model.ts';
import { put, sameJson } from './rewrite.ts';
import { scrub } from './scrub.ts';

/** Whether an action sends the object to the server. */
export function isSent(action: StepAction): action is 'create' | 'update' {
  return action === 'create' || action === 'update';
}

/** What to do with one object, given what the target has under its name. */
export interface Decision {
  readonly action: StepAction;
  readonly object: KubeObject;
  readonly changes: readonly string[];
  readonly reason?: string;
  readonly observed?: Observed;
  readonly findings: readonly Finding[];
}

export interface ConflictContext {
  readonly id: OperationId;
  readonly policy: ConflictPolicy;
  readonly namespace: string;
  readonly existing: ReadonlyMap<string, KubeObject>;
}

/** Whether this operation created the object (and is being planned again): then it is no conflict, but work already done. */
export function isOwn(object: KubeObject, id: OperationId): boolean {
  return object.metadata.labels?.[LABELS.operation] === id;
}

/**
 * Settles an object against the target. Namespaced objects follow the policy; claims are never overwritten. Cluster-scoped ones are shared with
 * whoever else uses the cluster, so each kind has its own rule, and nothing shared is ever changed unasked.
 */
export function decide(object: KubeObject, context: ConflictContext): Decision {
  const found = context.existing.get(refKey(refOf(object)));
  if (isDefaultAccount(object)) return decideDefaultAccount(object, found);
  if (found === undefined || isOwn(found, context.id)) return { action: 'create', object, changes: [], findings: [] };
  switch (kindId(object)) {
    case 'CustomResourceDefinition.apiextensions.k8s.io':
      return skip(object, found, 'the target has it; changing it could break others who use it');
    case 'MutatingWebhookConfiguration.admissionregistration.k8s.io':
    case 'ValidatingWebhookConfiguration.admissionregistration.k8s.io':
      return skip(object, found, 'the target has it, and a second one would intercept the whole cluster twice', {
        level: 'warning',
        code: 'webhook-exists',
        message: `${refName(refOf(object))} exists on the target and is left as it is; it may call another namespace than ${context.namespace}`,
        ref: refOf(object),
      });
    case 'ClusterRoleBinding.rbac.authorization.k8s.io':
      return decideBinding(object, found, context);
    case 'ClusterRole.rbac.authorization.k8s.io':
      // Labels that were mapped for the restored objects are no reason for a second role.
      return grantsSame(object, found) ? skip(object, found, 'the target has one that grants the same') : byPolicy(object, found, context);
    case 'PersistentVolumeClaim':
      return decideClaim(object, found, context);
    default:
      if (object.metadata.namespace === undefined && isSame(object, found)) return skip(object, found, 'the target has the same');
      return byPolicy(object, found, context);
  }
}

function observe(object: KubeObject): Observed {
  return { uid: object.metadata.uid ?? '', resourceVersion: object.metadata.resourceVersion ?? '' };
}

function skip(object: KubeObject, found: KubeObject, reason: string, finding?: Finding): Decision {
  return { action: 'skip', object, changes: [], reason, observed: observe(found), findings: finding === undefined ? [] : [finding] };
}

/** It stands in the way of everything, until the operator says what should become of it. */
function conflict(object: KubeObject, found: KubeObject, finding: Finding): Decision {
  return {
    action: 'conflict',
    object,
    changes: changesOf(object, found),
    reason: 'it exists',
    observed: observe(found),
    findings: [finding],
  };
}

function changesOf(object: KubeObject, found: KubeObject): readonly string[] {
  return describeDiff(scrub(found).object, object);
}

function isSame(object: KubeObject, found: KubeObject): boolean {
  return sameJson(scrub(object).object, scrub(found).object);
}

/** Whether two cluster roles have the same rules, and add them to the same roles. */
function grantsSame(object: KubeObject, found: KubeObject): boolean {
  const facts = (role: KubeObject) => {
    const { rules, aggregationRule, metadata } = scrub(role).object;
    const labels = Object.entries(metadata.labels ?? {}).filter(([key]) => key.includes('/aggregate-to-'));
    return { rules, aggregationRule, labels: Object.fromEntries(labels) };
  };
  return sameJson(facts(object), facts(found));
}

function byPolicy(object: KubeObject, found: KubeObject, { policy, namespace }: ConflictContext): Decision {
  if (policy === 'skip') return skip(object, found, 'it exists');
  if (policy === 'overwrite') {
    if (isSame(object, found)) return skip(object, found, 'the target has the same');
    return { action: 'update', object, changes: changesOf(object, found), observed: observe(found), findings: [] };
  }
  const where = object.metadata.namespace === undefined ? 'on the target' : `in namespace ${namespace}`;
  return conflict(object, found, {
    level: 'blocker',
    code: 'object-exists',
    message: `${refName(refOf(object))} exists ${where}`,
    ref: refOf(object),
    hint:
      object.metadata.namespace === undefined
        ? policy === 'rename'
          ? `--exclude ${refName(refOf(object))}, to use the one that is there`
          : '--on-conflict skip'
        : `--to-namespace ${namespace}-restored, or --on-conflict skip to keep what is there, rename to restore beside it`,
  });
}

function decideClaim(object: KubeObject, found: KubeObject, { policy, namespace }: ConflictContext): Decision {
  const ref = refOf(object);
  if (policy === 'skip') {
    return skip(object, found, 'it exists; its data stay as they are', {
      level: 'warning',
      code: 'claim-kept',
      message: `claim ${ref.name} exists in namespace ${namespace}; its data stay as they are`,
      ref,
    });
  }
  return conflict(object, found, {
    level: 'blocker',
    code: 'claim-exists',
    message: `claim ${ref.name} exists in namespace ${namespace}, and a restore never writes over data`,
    ref,
    hint: `--to-namespace ${namespace}-restored, or --on-conflict skip to keep its data`,
  });
}

/** A binding is restored beside one of the same name: to add subjects to it would change what belongs to others, and could not be undone. */
function decideBinding(object: KubeObject, found: KubeObject, context: ConflictContext): Decision {
  if (binds(found, object)) return skip(object, found, 'the target has it, with the same subjects');
  const name = `${object.metadata.name}-${context.namespace}`;
  const renamed = put(object, ['metadata', 'name'], name);
  const beside = context.existing.get(refKey(refOf(renamed)));
  const changes = [`metadata.name: ${object.metadata.name} -> ${name} (the target has another binding of that name)`];
  if (beside === undefined || isOwn(beside, context.id)) return { action: 'create', object: renamed, changes, findings: [] };
  return binds(beside, renamed) ? skip(renamed, beside, 'the target has it, with the same subjects') : byPolicy(renamed, beside, context);
}

function binds(found: KubeObject, object: KubeObject): boolean {
  const subjects = listAt(found, 'subjects');
  return (
    sameJson(at(found, 'roleRef'), at(object, 'roleRef')) && listAt(object, 'subjects').every((s) => subjects.some((t) => sameJson(s, t)))
  );
}

/** Every namespace gets one by itself, soon after it is made. */
export function isDefaultAccount(object: KubeObject): boolean {
  return kindId(object) === 'ServiceAccount' && object.metadata.name === 'default';
}

function decideDefaultAccount(object: KubeObject, found: KubeObject | undefined): Decision {
  const observed = found === undefined ? {} : { observed: observe(found) };
  const adds = Object.keys(object).some((field) => !['apiVersion', 'kind', 'metadata'].includes(field)) || hasLabelsOrAnnotations(object);
  if (!adds) return { action: 'skip', object, changes: [], reason: 'every namespace has its own', ...observed, findings: [] };
  return {
    action: 'update',
    object,
    changes: found === undefined ? [] : changesOf(object, found),
    ...observed,
    findings: [],
  };
}

function hasLabelsOrAnnotations(object: KubeObject): boolean {
  return [mapAt(object, 'metadata', 'labels'), mapAt(object, 'metadata', 'annotations')].some((map) => Object.keys(map).length > 0);
}

/**
 * Marks what will be sent. The label says "created by this operation", so that undoing it deletes exactly these; on an object that
 * existed before, the operation is an annotation only.
 */
export function mark(object: KubeObject, action: 'create' | 'update', id: OperationId, backup: string): KubeObject {
  const marked = put(object, ['metadata', 'annotations', ANNOTATIONS.backup], backup);
  return put(marked, ['metadata', action === 'create' ? 'labels' : 'annotations', LABELS.operation], id);
}
