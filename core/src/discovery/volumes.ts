import { refKey, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import type { AppVolume, Scheduling, VolumeSecurity } from './application.ts';
import { byText, controllerIn } from './closure.ts';
import type { Graph } from './closure.ts';
import { storageClassOf } from './edges.ts';
import { claimPrefixesOf, kindId, podTemplateOf } from './pod-template.ts';
import { at, listAt, numberAt, recordAt, stringAt, stringsAt } from './read.ts';
import type { Json } from './read.ts';
import { parseQuantity } from './quantity.ts';

/** What is known of the cluster's storage and nodes; any of it may be missing, for want of rights. */
export interface StorageFacts {
  readonly volumes: readonly KubeObject[];
  readonly classes: readonly KubeObject[];
  readonly nodes: readonly KubeObject[];
}

export const NO_STORAGE_FACTS: StorageFacts = { volumes: [], classes: [], nodes: [] };

/** Describes the volumes behind these claims, in their order. */
export function volumesOf(graph: Graph, claims: readonly KubeObject[], facts: StorageFacts): AppVolume[] {
  const users = usersOfClaims(graph);
  const volumes = byName(facts.volumes);
  const classes = byName(facts.classes);
  const nodes = byName(facts.nodes);
  return claims.map((claim) => {
    const using = users.get(refKey(refOf(claim))) ?? [];
    const pods = using
      .filter(isLivePod)
      .sort((a, b) => Number(isRunning(b)) - Number(isRunning(a)) || byText(a.metadata.name, b.metadata.name));
    const consumers = new Map(
      using
        .filter((o) => kindId(o) !== 'Pod' || isLivePod(o))
        .map((o) => topOf(graph, o))
        .map((o) => [refKey(refOf(o)), o]),
    );
    const tops = [...consumers].sort(([a], [b]) => byText(a, b)).map(([, o]) => o);
    const { volumeName, storageClass, ...basics } = basicsOf(claim);
    const volume = volumeName === undefined ? undefined : volumes.get(volumeName);
    const driver = driverOf(volume) ?? stringAt(classes.get(storageClass), 'provisioner') ?? provisionerOf(claim);
    const affinity = at(volume, 'spec', 'nodeAffinity');
    const node = hostnameOf(pods.find(isRunning), nodes);
    return {
      claim: refOf(claim),
      ...basics,
      storageClass,
      ...(volumeName === undefined ? {} : { volumeName }),
      ...(driver === undefined ? {} : { driver }),
      ...(affinity === undefined ? {} : { nodeAffinity: recordAt(affinity) }),
      mountedBy: pods.map(refOf),
      consumers: tops.map(refOf),
      ...(node === undefined ? {} : { node }),
      // A pod has what admission filled in; of the places it may run at, its workload knows best: a pod also bears what it was bound to.
      security: firstOf([...pods, ...tops, ...using], (o) => securityOf(o, claim)) ?? {},
      scheduling: firstOf([...tops, ...pods, ...using], schedulingOf) ?? {},
    };
  });
}

function basicsOf(claim: KubeObject) {
  const capacity = stringAt(claim, 'status', 'capacity', 'storage') ?? stringAt(claim, 'spec', 'resources', 'requests', 'storage') ?? '0';
  return {
    mode: stringAt(claim, 'spec', 'volumeMode') === 'Block' ? ('block' as const) : ('filesystem' as const),
    capacityBytes: parseQuantity(capacity) ?? 0,
    storageClass: storageClassOf(claim) ?? '',
    accessModes: stringsAt(claim, 'spec', 'accessModes'),
    phase: stringAt(claim, 'status', 'phase') ?? 'Pending',
    volumeName: stringAt(claim, 'spec', 'volumeName'),
  };
}

/** Pods and templates that mount each claim, by the claim's key. */
function usersOfClaims(graph: Graph): ReadonlyMap<string, KubeObject[]> {
  const users = new Map<string, KubeObject[]>();
  for (const { name, from, to } of graph.links) {
    const user = graph.objects.get(from);
    if (user === undefined || (name !== 'mounts' && name !== 'claims')) continue;
    const list = users.get(to);
    if (list === undefined) users.set(to, [user]);
    else list.push(user);
  }
  return users;
}

/** The last of the controllers above an object: for a pod its Deployment, not its ReplicaSet. */
function topOf(graph: Graph, object: KubeObject): KubeObject {
  const passed = new Set<KubeObject>();
  let top = object;
  while (!passed.has(top)) {
    passed.add(top);
    top = controllerIn(graph, top) ?? top;
  }
  return top;
}

function isLivePod(o: KubeObject): boolean {
  return kindId(o) === 'Pod' && !['Succeeded', 'Failed'].includes(stringAt(o, 'status', 'phase') ?? '');
}

function isRunning(o: KubeObject): boolean {
  return stringAt(o, 'status', 'phase') === 'Running';
}

/** Nodes are found by label, which need not be their name. Without the right to read nodes, the name is the best guess. */
function hostnameOf(pod: KubeObject | undefined, nodes: ReadonlyMap<string, KubeObject>): string | undefined {
  const name = stringAt(pod, 'spec', 'nodeName');
  return name === undefined ? undefined : (nodes.get(name)?.metadata.labels?.['kubernetes.io/hostname'] ?? name);
}

/** Fields of a PersistentVolume's spec that are not the source of its data. */
const NOT_A_SOURCE = new Set([
  ...['accessModes', 'capacity', 'claimRef', 'mountOptions', 'nodeAffinity', 'persistentVolumeReclaimPolicy', 'storageClassName'],
  ...['volumeAttributesClassName', 'volumeMode'],
]);

function driverOf(volume: KubeObject | undefined): string | undefined {
  const source = Object.keys(recordAt(volume, 'spec')).find((field) => !NOT_A_SOURCE.has(field));
  return source === undefined ? undefined : (stringAt(volume, 'spec', source, 'driver') ?? source);
}

function provisionerOf(claim: KubeObject): string | undefined {
  const { annotations = {} } = claim.metadata;
  return annotations['volume.kubernetes.io/storage-provisioner'] ?? annotations['volume.beta.kubernetes.io/storage-provisioner'];
}

/** The container that mounts the volume decides whom it is accessed as, the pod where the container says nothing. */
export function securityOf(user: KubeObject, claim: KubeObject): VolumeSecurity | undefined {
  const spec = podTemplateOf(user)?.spec;
  const volume = volumeIn(user, spec, claim);
  if (spec === undefined || volume === undefined) return undefined;
  const container = [...listAt(spec, 'containers'), ...listAt(spec, 'initContainers')].find((c) =>
    [...listAt(c, 'volumeMounts'), ...listAt(c, 'volumeDevices')].some((mount) => mount['name'] === volume),
  );
  const number = (field: string) => numberAt(container, 'securityContext', field) ?? numberAt(spec, 'securityContext', field);
  const runAsUser = number('runAsUser');
  const runAsGroup = number('runAsGroup');
  const fsGroup = numberAt(spec, 'securityContext', 'fsGroup');
  const fsGroupChangePolicy = stringAt(spec, 'securityContext', 'fsGroupChangePolicy');
  const groups = at(spec, 'securityContext', 'supplementalGroups');
  const seLinux = at(container, 'securityContext', 'seLinuxOptions') ?? at(spec, 'securityContext', 'seLinuxOptions');
  return {
    ...(runAsUser === undefined ? {} : { runAsUser }),
    ...(runAsGroup === undefined ? {} : { runAsGroup }),
    ...(fsGroup === undefined ? {} : { fsGroup }),
    ...(fsGroupChangePolicy === undefined ? {} : { fsGroupChangePolicy }),
    ...(Array.isArray(groups) ? { supplementalGroups: groups.filter((g): g is number => typeof g === 'number') } : {}),
    ...(seLinux === undefined ? {} : { seLinuxOptions: recordAt(seLinux) }),
  };
}

/** What the pod calls the volume that is this claim. */
function volumeIn(user: KubeObject, spec: Json | undefined, claim: KubeObject): string | undefined {
  const { name } = claim.metadata;
  const volume = listAt(spec, 'volumes').find((v) => stringAt(v, 'persistentVolumeClaim', 'claimName') === name);
  if (volume !== undefined) return stringAt(volume, 'name');
  if (kindId(user) !== 'StatefulSet.apps') return undefined;
  const prefix = claimPrefixesOf(user).find((p) => name.startsWith(p));
  return prefix?.slice(0, -`-${user.metadata.name}-`.length);
}

export function schedulingOf(user: KubeObject): Scheduling | undefined {
  const spec = podTemplateOf(user)?.spec;
  if (spec === undefined) return undefined;
  return {
    ...(spec['nodeSelector'] === undefined ? {} : { nodeSelector: recordAt(spec, 'nodeSelector') }),
    ...(spec['affinity'] === undefined ? {} : { affinity: recordAt(spec, 'affinity') }),
    ...(spec['tolerations'] === undefined ? {} : { tolerations: listAt(spec, 'tolerations') }),
  };
}

function firstOf<T, R>(items: readonly T[], read: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const found = read(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function byName(objects: readonly KubeObject[]): ReadonlyMap<string, KubeObject> {
  return new Map(objects.map((o) => [o.metadata.name, o]));
}

/** Names of the nodes where these claims' pods run: what to read for `StorageFacts.nodes`. */
export function nodesOf(graph: Graph, claims: readonly ObjectRef[]): ReadonlySet<string> {
  const keys = new Set(claims.map(refKey));
  const names = new Set<string>();
  for (const [claim, users] of usersOfClaims(graph)) {
    for (const pod of keys.has(claim) ? users.filter(isRunning) : []) {
      const node = kindId(pod) === 'Pod' ? stringAt(pod, 'spec', 'nodeName') : undefined;
      if (node !== undefined) names.add(node);
    }
  }
  return names;
}
