import { KNOWN_KINDS } from '../cluster/known-kinds.ts';
import { idOfKind } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { parseQuantity } from '../discovery/quantity.ts';
import { at, listAt, stringAt } from '../discovery/read.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import { inServedApi } from './api-versions.ts';
import { describeDiff } from './diff.ts';
import { listed } from './hints.ts';
import { leftOutBy } from './left-out-rules.ts';
import { mapObject } from './mapping.ts';
import type { Mapping } from './mapping.ts';
import { unusedMappings } from './mapping-checks.ts';
import type { BackupView, RestoreOptions, TargetState, VolumeView } from './model.ts';
import { applyPatches } from './patches.ts';
import type { ObjectPatch } from './patches.ts';
import { needRef } from './plan-checks.ts';
import { podNeeds } from './pods.ts';
import { applyRenames, renamesOf } from './renames.ts';
import type { Renames } from './renames.ts';
import { scaled, withReplicas } from './replicas.ts';
import { put, update } from './rewrite.ts';
import { scrub } from './scrub.ts';
import { selectionOf } from './selection.ts';
import { hasOwnSize } from './value-maps.ts';

/** The cluster-scoped kinds that a plan may name, besides the target namespace itself. */
export const CLUSTER_SCOPED_KINDS: readonly string[] = [
  'CustomResourceDefinition.apiextensions.k8s.io',
  'ClusterRole.rbac.authorization.k8s.io',
  'ClusterRoleBinding.rbac.authorization.k8s.io',
  'MutatingWebhookConfiguration.admissionregistration.k8s.io',
  'ValidatingWebhookConfiguration.admissionregistration.k8s.io',
];

/** An object on its way into the plan. */
export interface Item {
  readonly captured: KubeObject;
  /** Scrubbed and mapped; workloads in their active form. */
  readonly object: KubeObject;
  readonly changes: readonly string[];
}

export function mappingOf(backup: BackupView, options: RestoreOptions): Mapping {
  const from = backup.app.namespace;
  return { from, to: options.namespace ?? from, storageClasses: options.storageClassMap ?? {}, values: options.values ?? {} };
}

/**
 * The names that a plan would touch or depend on, as they are on the target: whoever gathers its state reads these. A name that is not
 * here does not matter to the plan.
 */
export function plannedRefs(
  backup: BackupView,
  target: Pick<TargetState, 'kinds' | 'version'>,
  options: RestoreOptions,
): readonly ObjectRef[] {
  const map = mappingOf(backup, options);
  const { items } = prepare(backup, target, options);
  const definitions = definitionsOf(target.kinds);
  const refs = items.flatMap(({ object }) => {
    const own = refOf(object);
    const beside = [
      ...(object.kind === 'ClusterRoleBinding' ? [{ ...own, name: `${own.name}-${map.to}` }] : []),
      ...(options.conflict === 'rename' ? [{ ...own, name: besideName(own.name) }] : []),
    ];
    const needs = podNeeds(object).map((need) => needRef(need.kind, need.name, map.to));
    const definition = definitions.get(kindId(object));
    const ingressClass = stringAt(object, 'spec', 'ingressClassName');
    const classes = ingressClass === undefined ? [] : [{ apiVersion: 'networking.k8s.io/v1', kind: 'IngressClass', name: ingressClass }];
    return [own, ...beside, ...needs, ...classes, ...(definition === undefined ? [] : [definition])];
  });
  return [...new Map(refs.map((ref) => [refKey(ref), ref])).values()];
}

/** By kind: the definitions of custom resources on the target, which the backup need not have. They say which versions are served. */
function definitionsOf(kinds: readonly ResourceKind[]): ReadonlyMap<string, ObjectRef> {
  const builtIn = new Set(KNOWN_KINDS.map(({ group }) => group));
  const custom = kinds.filter(({ group }) => !builtIn.has(group));
  return new Map(
    custom.map((kind) => {
      const name = `${kind.plural}.${kind.group}`;
      return [idOfKind(kind), { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', name }];
    }),
  );
}

/** What an object is called that is restored beside one of its name. */
export function besideName(name: string): string {
  return `${name}-restored`;
}

/** Chooses what is restored, scrubs, maps, renames and patches it. `taken`: names of the target that are not to be used. */
export function prepare(
  backup: BackupView,
  target: Pick<TargetState, 'kinds' | 'version'>,
  options: RestoreOptions,
  taken: (object: KubeObject) => boolean = () => false,
): {
  readonly items: readonly Item[];
  readonly findings: readonly Finding[];
  readonly renames: Renames;
  /** As captured: what its owner makes again. */
  readonly owned: readonly KubeObject[];
} {
  const map = mappingOf(backup, options);
  const converted = new Map(backup.objects.map((o) => [inServedApi(o, target.version.minor), o]));
  const originals = [...converted].filter(([now, then]) => now === then);
  // Of an object that was captured by its old API and by its new one too, the latter counts.
  const all = [...[...converted].filter(([now, then]) => now !== then), ...originals]
    .map(([now]) => now)
    .concat(claimsWithoutManifest(backup));
  const index = { namespace: map.from, byKey: new Map(all.map((o) => [refKey(refOf(o)), o])) };
  const leftOut: { readonly object: KubeObject; readonly rule?: string; readonly why: string; readonly level: Finding['level'] }[] = [];
  const restorable = [...index.byKey.values()].filter((object) => {
    if (kindId(object) === 'Namespace') return false; // `namespaceItem` sees to it
    const rule = leftOutBy(object, index);
    const outside = rule === undefined ? outsideReason(object, map, target) : undefined;
    if (rule !== undefined) leftOut.push({ object, rule: rule.name, why: rule.why, level: rule.level });
    if (outside !== undefined) leftOut.push({ object, why: outside, level: 'warning' });
    return rule === undefined && outside === undefined;
  });
  const selection = selectionOf(restorable, target.kinds, options);
  const volumes = new Map(backup.volumes.map((v) => [v.claim.name, v]));
  const numbered = withReplicas(restorable.filter(selection.isSelected), options.replicas ?? {});
  const selected = numbered.objects;
  const renames = renamesOf(selected, (object) => {
    const own = kindId(object) === 'PersistentVolumeClaim' ? options.volumes?.[object.metadata.name] : undefined;
    const name = own ?? `${options.namePrefix ?? ''}${object.metadata.name}`;
    const moved = {
      ...object,
      metadata: { ...object.metadata, name, ...(object.metadata.namespace === undefined ? {} : { namespace: map.to }) },
    };
    const free = taken(moved) ? besideName(name) : name;
    return free === object.metadata.name ? undefined : free;
  });
  const patching = patcher(options.patches ?? [], target.kinds);
  const scrubs = selected.map((captured) => ({ captured, scrubbed: scrub(captured) }));
  const items = scrubs.map(({ captured, scrubbed }) => {
    const mapped = mapObject(scrubbed.object, map);
    const bound = confineSubjects(mapped.object, map);
    const named = applyRenames(bound.object, captured, renames);
    const volume = volumes.get(captured.metadata.name);
    const sized = hasOwnSize(captured.metadata.name, map.values ?? {})
      ? { object: named, changes: [] }
      : sizeClaim(named, captured, volume);
    const replicated = scaled(sized.object, captured, options.replicas ?? {});
    const patched = patching.apply(replicated, captured);
    const before = converted.get(captured)?.apiVersion ?? captured.apiVersion;
    const changes = [
      ...(before === captured.apiVersion
        ? []
        : [`apiVersion: ${before} -> ${captured.apiVersion} (Kubernetes does not serve the old one any more)`]),
      ...scrubbed.changes,
      ...mapped.changes,
      ...bound.changes,
      ...describeDiff(bound.object, named),
      ...sized.changes,
      ...describeDiff(sized.object, replicated),
      ...describeDiff(replicated, patched).map((line) => `${line} (patched)`),
    ];
    return { captured, object: patched, changes };
  });
  const findings = [
    ...selection.findings,
    ...numbered.findings,
    ...patching.findings(),
    ...unusedMappings(
      scrubs.map(({ scrubbed }) => scrubbed.object),
      options,
    ),
    // What was not asked for is not missed.
    ...leftOutFindings(leftOut.filter(({ object }) => selection.isSelected(object))),
  ];
  return { items, findings, renames, owned: leftOut.filter(({ rule }) => rule === 'owned').map(({ object }) => object) };
}

/** One for each reason. */
function leftOutFindings(
  leftOut: readonly { readonly object: KubeObject; readonly why: string; readonly level: Finding['level'] }[],
): readonly Finding[] {
  const reasons = [...new Map(leftOut.map(({ why, level }) => [why, level]))];
  return reasons.map(([why, level]) => {
    const refs = leftOut.filter((each) => each.why === why).map(({ object }) => refOf(object));
    return {
      level,
      code: 'left-out',
      message: `left out: ${listed(refs.map((ref) => refName(ref)))}; ${why}`,
      ...(refs.length === 1 && refs[0] !== undefined ? { ref: refs[0] } : {}),
    };
  });
}

/** Applies the operator's patches, and remembers what came of them. */
function patcher(
  patches: readonly ObjectPatch[],
  kinds: TargetState['kinds'],
): { readonly apply: (object: KubeObject, captured: KubeObject) => KubeObject; readonly findings: () => readonly Finding[] } {
  const used = new Set<number>();
  const problems: Finding[] = [];
  const block = (message: string, object: KubeObject): void =>
    void problems.push({
      level: 'blocker',
      code: 'patch-failed',
      message,
      ref: refOf(object),
      hint: 'mend the patch file, or --exclude the object',
    });
  return {
    apply: (object, captured) => {
      const patched = applyPatches(object, captured, patches, kinds);
      for (const i of patched.applied) used.add(i);
      for (const problem of patched.problems) block(`a patch cannot be applied to ${refName(refOf(object))}: ${problem}`, object);
      if (refKey(refOf(patched.object)) === refKey(refOf(object))) return patched.object;
      block(`a patch makes another object of ${refName(refOf(object))}: ${refName(refOf(patched.object), true)}`, object);
      return object;
    },
    findings: () => [
      ...problems,
      ...patches.flatMap(({ from }, i): Finding[] =>
        used.has(i)
          ? []
          : [
              {
                level: 'blocker',
                code: 'patch-without-target',
                message: `${from} is for no object that is restored`,
                hint: 'names and kinds in patches are those after mapping, or those of the backup',
              },
            ],
      ),
    ],
  };
}

/** Restores stay in their namespace, and touch of the rest of the cluster only kinds they know. */
function outsideReason(object: KubeObject, map: Mapping, target: Pick<TargetState, 'kinds'>): string | undefined {
  const { namespace } = object.metadata;
  const kind = target.kinds.find(
    (k) => kindId({ apiVersion: k.group === '' ? k.version : `${k.group}/${k.version}`, kind: k.kind }) === kindId(object),
  );
  if (kind !== undefined && kind.namespaced !== (namespace !== undefined)) return 'the target keeps that kind in another scope';
  if (namespace !== undefined) return namespace === map.from ? undefined : `it is outside namespace ${map.from}`;
  return CLUSTER_SCOPED_KINDS.includes(kindId(object)) ? undefined : 'it is cluster-scoped, of a kind that restores do not touch';
}

/** A volume whose claim was not captured with it: its data matter more than its labels. */
function claimsWithoutManifest(backup: BackupView): readonly KubeObject[] {
  const captured = new Set(backup.objects.filter((o) => kindId(o) === 'PersistentVolumeClaim').map((o) => o.metadata.name));
  return backup.volumes
    .filter((volume) => !captured.has(volume.claim.name))
    .map((volume) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: volume.claim.name, namespace: backup.app.namespace },
      spec: {
        accessModes: volume.accessModes,
        ...(volume.storageClass === '' ? {} : { storageClassName: volume.storageClass }),
        volumeMode: volume.mode === 'block' ? 'Block' : 'Filesystem',
        resources: { requests: { storage: String(volume.capacityBytes) } },
      },
    }));
}

/** A binding that others share is restored for this application's accounts only. */
function confineSubjects(object: KubeObject, map: Mapping): Omit<Item, 'captured'> {
  if (object.kind !== 'ClusterRoleBinding') return { object, changes: [] };
  const isForeign = (subject: unknown): boolean =>
    stringAt(subject, 'kind') === 'ServiceAccount' && (stringAt(subject, 'namespace') ?? map.to) !== map.to;
  const foreign = listAt(object, 'subjects').filter(isForeign);
  return {
    object: foreign.length === 0 ? object : update(object, ['subjects', '*'], (subject) => (isForeign(subject) ? undefined : subject)),
    changes: foreign.map(
      (s) => `subjects[${stringAt(s, 'namespace') ?? ''}/${stringAt(s, 'name') ?? ''}] removed: it belongs to another namespace`,
    ),
  };
}

/** What was written to a volume may be more than the claim asked for: storage systems round up, volumes made by hand are any size. */
function sizeClaim(object: KubeObject, captured: KubeObject, volume: VolumeView | undefined): Omit<Item, 'captured'> {
  if (kindId(object) !== 'PersistentVolumeClaim') return { object, changes: [] };
  const path = ['spec', 'resources', 'requests', 'storage'];
  const asked = at(object, ...path);
  const had = stringAt(captured, 'status', 'capacity', 'storage') ?? (volume === undefined ? undefined : String(volume.capacityBytes));
  if (had === undefined || (parseQuantity(had) ?? 0) <= (parseQuantity(String(asked)) ?? 0)) return { object, changes: [] };
  return { object: put(object, path, had), changes: [`${path.join('.')}: ${String(asked)} -> ${had} (the size of the captured volume)`] };
}

/** The target namespace, when it does not exist: with the labels and annotations of the captured one. */
export function namespaceItem(backup: BackupView, target: TargetState, map: Mapping): Item | undefined {
  if (target.namespace !== undefined) return undefined;
  const found = backup.objects.find((o) => kindId(o) === 'Namespace' && o.metadata.name === map.from);
  const captured: KubeObject = found ?? { apiVersion: 'v1', kind: 'Namespace', metadata: { name: map.from } };
  const scrubbed = scrub(captured);
  const mapped = mapObject(scrubbed.object, map);
  return { captured, object: mapped.object, changes: [...scrubbed.changes, ...mapped.changes] };
}
