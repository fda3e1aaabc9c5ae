import { refKey, refName, refOf } from '../model.ts';
import type { Finding, FindingLevel, KubeObject, ObjectRef } from '../model.ts';
import type { AppVolume, EdgeName } from './application.ts';
import { byText } from './closure.ts';
import type { Graph, Link, Loose } from './closure.ts';
import { idOfKind } from './inventory.ts';
import type { Unread } from './inventory.ts';
import { containersOf, controllerOf, kindId, podTemplateOf } from './pod-template.ts';
import { at, listAt, stringAt } from './read.ts';
import type { Json } from './read.ts';

/** What an edge says in a sentence, between `from` and `to`. */
export const EDGE_VERBS: Readonly<Record<EdgeName, string>> = {
  'owned-by': 'is owned by',
  mounts: 'mounts',
  'reads-env': 'reads its environment from',
  'pulls-with': 'pulls images with',
  'runs-as': 'runs as',
  claims: 'claims',
  'governed-by': 'is governed by',
  selects: 'selects',
  limits: 'limits',
  scales: 'scales',
  binds: 'binds',
  grants: 'grants',
  'token-of': 'holds a token of',
  addresses: 'holds the addresses of',
  'routes-to': 'routes to',
  'attached-to': 'is attached to',
  'terminates-tls-with': 'terminates TLS with',
  calls: 'calls',
  'stored-by': 'is stored by',
  'has-class': 'has the class',
  'defined-by': 'is defined by',
};

const NAMED_AT_MOST = 3;

/** `a, b and 4 more`. */
function listed(items: Iterable<string>): string {
  const unique = [...new Set(items)].sort(byText);
  const more = unique.length - NAMED_AT_MOST;
  const named = unique.slice(0, NAMED_AT_MOST).join(', ');
  return more > 0 ? `${named} and ${more} more` : named;
}

const LEVELS: readonly FindingLevel[] = ['blocker', 'warning', 'info'];

/** Most serious first, then by code and message. */
export function sortFindings(findings: Iterable<Finding>): Finding[] {
  const rank = (f: Finding) => LEVELS.indexOf(f.level);
  return [...findings].sort((a, b) => rank(a) - rank(b) || byText(a.code, b.code) || byText(a.message, b.message));
}

/** One of those that say the same. */
export function withoutRepeats(findings: Iterable<Finding>): Finding[] {
  return [...new Map([...findings].map((finding) => [finding.message, finding])).values()];
}

/**
 * Kinds that could not be read. A kind of the namespace is a gap, and so is any kind that members refer to. For the rest
 * of the cluster one remark is enough: who may only use a namespace is told so, but is not warned at each backup.
 */
export function unreadFindings(unread: readonly Unread[], loose: readonly Loose[], namespace: string): Finding[] {
  const findings: Finding[] = [];
  const unneeded: string[] = [];
  for (const { kind, why } of unread) {
    const id = idOfKind(kind);
    const needed = loose.filter((l) => kindId(l.to) === id).map((l) => refName(l.to));
    if (!kind.namespaced && needed.length === 0) {
      unneeded.push(id);
      continue;
    }
    const where = kind.namespaced ? ` in namespace ${namespace}` : '';
    const what = needed.length > 0 ? `; the application refers to ${listed(needed)}` : '';
    const resource = kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`;
    findings.push({
      level: 'warning',
      code: why === 'forbidden' ? 'kind-forbidden' : 'kind-unavailable',
      message:
        why === 'forbidden'
          ? `this identity may not list ${resource}${where}${what}`
          : `the API that serves ${resource} does not answer${what}`,
      hint:
        why === 'forbidden'
          ? `ask for the right to get and list ${resource}; "kubectl auth can-i list ${resource}${kind.namespaced ? ` -n ${namespace}` : ''}" shows whether it is there`
          : `"kubectl get --raw /apis/${kind.group}/${kind.version}" shows the server's answer`,
    });
  }
  if (unneeded.length > 0) {
    const message = `kinds that belong to no namespace could not be searched for parts of the application: ${unneeded.sort(byText).join(', ')}`;
    findings.push({ level: 'info', code: 'cluster-scope-unread', message });
  }
  return findings;
}

/** The claims are known, but not all that stands behind them. */
export function storageFindings(unread: readonly Unread[]): Finding[] {
  if (unread.length === 0) return [];
  const message = `where the volumes can be reached is known in part only: this identity may not read ${listed(unread.map((u) => u.kind.plural))}`;
  return [{ level: 'info', code: 'storage-unread', message }];
}

/** What members name and the cluster does not have. One finding for each thing missing, which names all that refer to it. */
export function missingFindings(graph: Graph, missing: readonly Loose[]): Finding[] {
  return grouped(missing, (l) => refKey(l.to)).map((loose) => {
    const [{ to }] = loose;
    // What a controller made refers to the same things as what it was made from.
    const sources = loose.flatMap(({ from, name }) => ({ name, object: graph.objects.get(from) as KubeObject }));
    const originals = sources.filter(({ object }) => controllerOf(object) === undefined);
    const uses = (originals.length > 0 ? originals : sources).map(({ name, object }) => `${refName(refOf(object))} ${EDGE_VERBS[name]} it`);
    return {
      level: 'warning',
      code: 'reference-missing',
      message: `${refName(to)} does not exist, but ${listed(uses)}`,
      ref: to,
      hint: 'create it, or remove the reference; a restored application will miss it just as this one does',
    };
  });
}

/** Members that objects outside use too, or that serve objects outside too. */
export function sharedFindings(
  graph: Graph,
  reached: ReadonlySet<string>,
  captured: ReadonlySet<string>,
  outward: readonly Loose[],
): Finding[] {
  const isOriginal = (key: string) => controllerOf(graph.objects.get(key) as KubeObject) === undefined;
  const outside = (key: string) => !reached.has(key) && isOriginal(key);
  const used = graph.links.filter((l) => l.relation === 'needs' && captured.has(l.to) && outside(l.from));
  const serving = graph.links.filter((l) => (l.relation === 'fronts' || l.relation === 'guards') && captured.has(l.from) && outside(l.to));
  const nameOf = (key: string) => refName(refOf(graph.objects.get(key) as KubeObject));
  const finding = (key: string, message: string): Finding => ({
    level: 'info',
    code: 'object-shared',
    message,
    ref: refOf(graph.objects.get(key) as KubeObject),
  });
  const serves = [
    ...serving.map((l: Link) => ({ from: l.from, what: `${EDGE_VERBS[l.name]} ${nameOf(l.to)}` })),
    ...outward.map((l) => ({ from: l.from, what: `${EDGE_VERBS[l.name]} ${refName(l.to, true)}` })),
  ];
  return [
    ...grouped(used, (l) => l.to).map((links) =>
      finding(
        links[0].to,
        `${nameOf(links[0].to)} is also used by ${listed(links.map((l) => nameOf(l.from)))}, not part of this application`,
      ),
    ),
    ...grouped(serves, (s) => s.from).map((uses) =>
      finding(uses[0].from, `${nameOf(uses[0].from)} also ${listed(uses.map((s) => s.what))}, not part of this application`),
    ),
  ];
}

/** Claims without data to read. */
export function claimFindings(volumes: readonly AppVolume[]): Finding[] {
  return volumes.flatMap(({ claim, phase }): Finding[] => {
    if (phase === 'Bound') return [];
    const isLost = phase === 'Lost';
    return [
      {
        level: 'blocker',
        code: isLost ? 'claim-lost' : 'claim-not-bound',
        message: isLost ? `${refName(claim)} has lost its volume` : `${refName(claim)} is ${phase}: there is no volume behind it yet`,
        ref: claim,
        hint: `"kubectl describe pvc ${claim.name} -n ${claim.namespace ?? ''}" says why; or exclude it: kubectl label pvc ${claim.name} -n ${claim.namespace ?? ''} dmaas.io/exclude=true`,
      },
    ];
  });
}

/** Volume sources whose data does not outlive the pod, or is not the application's own. */
const CAPTURED_OTHERWISE = new Set([
  'persistentVolumeClaim',
  'configMap',
  'secret',
  'projected',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'image',
  'csi',
]);
const NOT_DATA = new Set(['Socket', 'CharDevice', 'BlockDevice', 'File', 'FileOrCreate']);

/** Data that workloads keep where no claim tells of it. */
export function inlineVolumeFindings(members: readonly KubeObject[]): Finding[] {
  return members.flatMap((object) => {
    const spec = podTemplateOf(object)?.spec;
    return listAt(spec, 'volumes').flatMap((volume): Finding[] => {
      const source = Object.keys(volume).find((field) => field !== 'name' && !CAPTURED_OTHERWISE.has(field));
      if (source === undefined || spec === undefined || NOT_DATA.has(stringAt(volume, source, 'type') ?? '')) return [];
      if (isOnlyRead(spec, volume)) return [];
      const path = stringAt(volume, source, 'path');
      const message = `${refName(refOf(object))} writes to ${source}${path === undefined ? '' : ` ${path}`} (volume ${stringAt(volume, 'name') ?? ''}), which is no claim and is not captured`;
      return [
        { level: 'warning', code: 'volume-not-captured', message, ref: refOf(object), hint: 'keep the data in a PersistentVolumeClaim' },
      ];
    });
  });
}

function isOnlyRead(spec: Json, volume: Json): boolean {
  const mounts = containersOf(spec).flatMap((c) => listAt(c, 'volumeMounts').filter((m) => m['name'] === volume['name']));
  return mounts.every((mount) => at(mount, 'readOnly') === true);
}

export function terminatingFinding(ref: ObjectRef): Finding {
  return {
    level: 'warning',
    code: 'object-terminating',
    message: `${refName(ref)} is being deleted and is left out`,
    ref,
    hint:
      'wait until it is gone, or find the finalizer that holds it: kubectl get ' +
      `${ref.kind.toLowerCase()} ${ref.name}${ref.namespace === undefined ? '' : ` -n ${ref.namespace}`} -o jsonpath='{.metadata.finalizers}'`,
  };
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): (readonly [T, ...T[]])[] {
  const groups = new Map<string, [T, ...T[]]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return [...groups.values()];
}
