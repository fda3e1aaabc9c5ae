import { containersOf, kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { at, listAt, mapAt, recordAt, stringAt, stringsAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import { refKey, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { ANNOTATIONS } from '../operation.ts';
import { decoded } from './mapping.ts';
import { podNeeds, selects } from './pods.ts';
import { INACTIVE_NODE_LABEL, restOf } from './rest.ts';
import type { Rest } from './rest.ts';
import { mergePatch, put } from './rewrite.ts';

export interface Activation {
  /** JSON merge patch that makes the workload what it was when it was captured. */
  readonly patch: Json;
  /** For people: `replicas 0 -> 3`. */
  readonly how: string;
}

export interface Staged {
  readonly object: KubeObject;
  /** Absent when the object is the same active and inactive: no workload, or one that was captured at rest. */
  readonly activation?: Activation;
}

/**
 * The inactive form of a workload: it is there, but runs no pod. Its annotation `dmaas.io/activate` holds the merge patch that activates it, so
 * that a person or a later run can, whatever became of this one. Bare Pods have no such form; they are created when it is their turn.
 */
export function stage(object: KubeObject): Staged {
  const rest = restOf(object);
  if (rest === undefined) return { object };
  const annotated = put(mergePatch(object, rest.patch), ['metadata', 'annotations', ANNOTATIONS.activate], JSON.stringify(rest.back));
  return { object: annotated, activation: { patch: rest.back, how: howActivated(rest) } };
}

function howActivated({ by, back }: Rest): string {
  switch (by) {
    case 'replicas':
      return `replicas 0 -> ${String(at(back, 'spec', 'replicas'))}`;
    case 'suspend':
      return 'suspend true -> false';
    case 'node selector':
      return `node selector ${INACTIVE_NODE_LABEL} removed`;
  }
}

/** The merge patch of an activation step: activates, and removes the annotation that says it is still to be done. */
export function activationPatch(activation: Activation): Json {
  return { ...activation.patch, metadata: { annotations: { [ANNOTATIONS.activate]: null } } };
}

/** The object as its activation will leave it. */
export function activeForm(staged: KubeObject): KubeObject {
  const patch = mapAt(staged, 'metadata', 'annotations')[ANNOTATIONS.activate];
  return patch === undefined ? staged : mergePatch(staged, JSON.parse(patch));
}

/** Whether an object on the cluster still waits for its activation. */
export function isStaged(object: KubeObject): boolean {
  return mapAt(object, 'metadata', 'annotations')[ANNOTATIONS.activate] !== undefined;
}

/**
 * Groups workloads in waves; those of a wave start together, when the ones before are ready. A workload comes after those behind the services whose
 * names it holds in its environment, arguments, ConfigMaps or Secrets. Workloads with volumes (databases, mostly) come first where nothing
 * says otherwise, since what they depend on is rarely written down. A cycle is cut where it is met first.
 */
export function activationWaves(workloads: readonly KubeObject[], others: readonly KubeObject[]): readonly (readonly ObjectRef[])[] {
  const dependencies = dependenciesOf(workloads, others);
  const someHaveVolumes = workloads.some(hasVolumes);
  const waves = new Map<string, number>();
  const visiting = new Set<string>();
  const waveOf = (workload: KubeObject): number => {
    const key = refKey(refOf(workload));
    const known = waves.get(key);
    if (known !== undefined) return known;
    visiting.add(key);
    const before = (dependencies.get(key) ?? []).filter((d) => !visiting.has(refKey(refOf(d)))).map((d) => waveOf(d) + 1);
    visiting.delete(key);
    const wave = Math.max(someHaveVolumes && !hasVolumes(workload) ? 1 : 0, ...before);
    waves.set(key, wave);
    return wave;
  };
  const numbered = workloads.map((workload) => ({ ref: refOf(workload), wave: waveOf(workload) }));
  const numbers = [...new Set(numbered.map(({ wave }) => wave))].sort((a, b) => a - b);
  return numbers.map((number) => numbered.filter(({ wave }) => wave === number).map(({ ref }) => ref));
}

function hasVolumes(workload: KubeObject): boolean {
  return (
    listAt(workload, 'spec', 'volumeClaimTemplates').length > 0 || podNeeds(workload).some((need) => need.kind === 'PersistentVolumeClaim')
  );
}

/** For each workload, the workloads behind the services that it names. */
function dependenciesOf(workloads: readonly KubeObject[], others: readonly KubeObject[]): ReadonlyMap<string, readonly KubeObject[]> {
  const labelled = workloads.map((workload) => ({ workload, labels: podTemplateOf(workload)?.labels ?? {} }));
  const behind = new Map<string, readonly KubeObject[]>();
  for (const service of others.filter((o) => kindId(o) === 'Service')) {
    const selector = mapAt(service, 'spec', 'selector');
    const chosen = labelled.filter(({ labels }) => selects(selector, labels));
    behind.set(
      service.metadata.name,
      chosen.map(({ workload }) => workload),
    );
  }
  const texts = new Map(others.map((o) => [refKey(refOf(o)), textsOf(o)]));
  return new Map(
    workloads.map((workload) => {
      const spec = podTemplateOf(workload)?.spec;
      const inContainers = (spec === undefined ? [] : containersOf(spec)).flatMap((c) => [
        ...listAt(c, 'env').map((env) => stringAt(env, 'value') ?? ''),
        ...stringsAt(c, 'command'),
        ...stringsAt(c, 'args'),
      ]);
      const inObjects = podNeeds(workload).flatMap(({ kind, name }) => {
        const namespace = workload.metadata.namespace;
        return texts.get(refKey({ apiVersion: 'v1', kind, name, ...(namespace === undefined ? {} : { namespace }) })) ?? [];
      });
      const named = new Set([...inContainers, ...inObjects].flatMap((text) => [...hostsIn(text)]));
      const found = [...behind].filter(([service]) => named.has(service)).flatMap(([, members]) => members);
      return [refKey(refOf(workload)), [...new Set(found)].filter((w) => w !== workload)];
    }),
  );
}

function textsOf(object: KubeObject): readonly string[] {
  if (kindId(object) === 'ConfigMap') return Object.values(mapAt(object, 'data'));
  if (kindId(object) !== 'Secret') return [];
  return [...Object.values(mapAt(object, 'stringData')), ...Object.values(decoded(recordAt(object, 'data')))];
}

/** Contexts in which a word is a host name: the whole text, after `//` or `@`, before a port, after `host=`, or with dots in it. */
const HOST_PATTERNS = [
  /^\s*([a-z0-9][a-z0-9.-]*)\s*$/gi,
  /(?:\/\/|@)([a-z0-9][a-z0-9.-]*)/gi,
  /([a-z0-9][a-z0-9.-]*):\d{2,5}\b/gi,
  /host(?:name)?["']?\s*[=:]\s*["']?([a-z0-9][a-z0-9.-]*)/gi,
  /([a-z0-9][a-z0-9-]*\.[a-z0-9][a-z0-9.-]*)/gi,
] as const;

/** Names that could be services in a text. The second label too: `db-0.db` is a pod of the service `db`. */
function hostsIn(text: string): ReadonlySet<string> {
  const found = HOST_PATTERNS.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1] ?? ''));
  return new Set(found.flatMap((host) => host.toLowerCase().split('.').slice(0, 2)));
}
