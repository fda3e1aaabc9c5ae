import { kindId } from '../discovery/pod-template.ts';
import { at, stringAt, stringsAt } from '../discovery/read.ts';
import { wildcard } from '../discovery/object-pattern.ts';
import type { KubeObject } from '../model.ts';
import { POD_KINDS, updatePodSpec } from './pods.ts';
import { isRecord, put, update } from './rewrite.ts';

/** Values of another place: what the operator maps besides the namespace and storage classes. All plain JSON. */
export interface ValueMaps {
  /** New size by the name of the claim, in which `*` stands for any run of characters. */
  readonly claimSizes?: Readonly<Record<string, string>>;
  readonly accessModes?: Readonly<Record<string, string>>;
  /** Beginning of an image's name to its new beginning, at the bounds of its parts: `docker.io/acme` to `registry.local/acme`. */
  readonly images?: Readonly<Record<string, string>>;
  /** Host names of Ingresses, routes and gateways; `*.old.example` to `*.new.example` for a domain. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Node labels that pods ask for. Without `to` they do not ask any more. */
  readonly nodeSelectors?: readonly LabelMap[];
  /** Labels of objects, of pods, and in every selector of them. */
  readonly labels?: readonly Required<LabelMap>[];
  /** Added to every object, but not to pods. */
  readonly addLabels?: Readonly<Record<string, string>>;
}

export interface LabelMap {
  readonly from: readonly [key: string, value: string];
  readonly to?: readonly [key: string, value: string];
}

interface ValueRule {
  readonly kinds: readonly string[] | 'all';
  readonly apply: (object: KubeObject, maps: ValueMaps) => KubeObject;
}

const CLAIM = 'PersistentVolumeClaim';
const SET = 'StatefulSet.apps';
const TEMPLATES = ['spec', 'volumeClaimTemplates', '*'];
const EPHEMERAL = ['volumes', '*', 'ephemeral', 'volumeClaimTemplate'];
const SIZE = ['spec', 'resources', 'requests', 'storage'];
const MODES = ['spec', 'accessModes', '*'];

/** In this order. */
const VALUE_RULES: readonly ValueRule[] = [
  { kinds: [CLAIM], apply: (o, { claimSizes }) => resized(o, sizeFor(o.metadata.name, claimSizes)) },
  {
    kinds: [SET],
    // A template has the size of its claims: that of the first replica decides.
    apply: (o, { claimSizes }) =>
      update(o, TEMPLATES, (template) =>
        resized(template, sizeFor(`${stringAt(template, 'metadata', 'name') ?? ''}-${o.metadata.name}-0`, claimSizes)),
      ),
  },
  { kinds: [CLAIM], apply: (o, { accessModes }) => update(o, MODES, mapped(accessModes)) },
  { kinds: [SET], apply: (o, { accessModes }) => update(o, [...TEMPLATES, ...MODES], mapped(accessModes)) },
  {
    kinds: POD_KINDS,
    apply: (o, { accessModes }) => updatePodSpec(o, (spec) => update(spec, [...EPHEMERAL, ...MODES], mapped(accessModes))),
  },
  { kinds: POD_KINDS, apply: (o, { images }) => updatePodSpec(o, (spec) => mapImages(spec, images)) },
  { kinds: POD_KINDS, apply: (o, { nodeSelectors }) => updatePodSpec(o, (spec) => mapNodes(spec, nodeSelectors ?? [])) },
  {
    kinds: ['Ingress.networking.k8s.io'],
    apply: (o, { hosts }) =>
      update(update(o, ['spec', 'rules', '*', 'host'], mapHost(hosts)), ['spec', 'tls', '*', 'hosts', '*'], mapHost(hosts)),
  },
  {
    kinds: ['HTTPRoute', 'GRPCRoute', 'TLSRoute'].map((kind) => `${kind}.gateway.networking.k8s.io`),
    apply: (o, { hosts }) => update(o, ['spec', 'hostnames', '*'], mapHost(hosts)),
  },
  {
    kinds: ['Gateway.gateway.networking.k8s.io'],
    apply: (o, { hosts }) => update(o, ['spec', 'listeners', '*', 'hostname'], mapHost(hosts)),
  },
  { kinds: ['Route.route.openshift.io'], apply: (o, { hosts }) => update(o, ['spec', 'host'], mapHost(hosts)) },
  { kinds: 'all', apply: (o, { labels }) => (labels ?? []).reduce((object, map) => mapLabel(object, map) as KubeObject, o) },
  {
    kinds: 'all',
    apply: (o, { addLabels }) =>
      Object.entries(addLabels ?? {}).reduce((object, [key, value]) => put(object, ['metadata', 'labels', key], value), o),
  },
];

export function mapValues(object: KubeObject, maps: ValueMaps): KubeObject {
  return VALUE_RULES.filter(({ kinds }) => kinds === 'all' || kinds.includes(kindId(object))).reduce(
    (o, rule) => rule.apply(o, maps),
    object,
  );
}

/** What `names` says of a name, in whose keys `*` stands for any run of characters; the longest key first. */
function sizeFor(name: string, names: Readonly<Record<string, string>> = {}): string | undefined {
  const keys = Object.keys(names).sort((a, b) => b.length - a.length);
  const key = keys.find((pattern) => wildcard(pattern).test(name));
  return key === undefined ? undefined : names[key];
}

/** Whether the operator says how large a claim is to be. */
export function hasOwnSize(claim: string, { claimSizes }: ValueMaps): boolean {
  return sizeFor(claim, claimSizes) !== undefined;
}

function resized<T>(claim: T, size: string | undefined): T {
  return size === undefined ? claim : put(claim, SIZE, size);
}

const mapped =
  (map: Readonly<Record<string, string>> = {}) =>
  (value: unknown): unknown =>
    typeof value === 'string' ? (map[value] ?? value) : value;

function mapImages(spec: unknown, images: Readonly<Record<string, string>> = {}): unknown {
  const rename = (image: unknown): unknown => (typeof image === 'string' ? mapImage(image, images) : image);
  const containers = ['initContainers', 'containers'].reduce((s, list) => update(s, [list, '*', 'image'], rename), spec);
  return update(containers, ['volumes', '*', 'image', 'reference'], rename);
}

/** `nginx` is `docker.io/library/nginx`, if one of the map's keys says so. */
export function mapImage(image: string, images: Readonly<Record<string, string>>): string {
  const [first = ''] = image.split('/');
  const hasRegistry = image.includes('/') && (/[.:]/.test(first) || first === 'localhost');
  const full = hasRegistry ? image : `docker.io/${image.includes('/') ? '' : 'library/'}${image}`;
  for (const name of [image, full]) {
    const beginning = Object.keys(images)
      .sort((a, b) => b.length - a.length)
      .find((key) => name === key || (name.startsWith(key) && /^[/:@]/.test(name.slice(key.length))));
    if (beginning !== undefined) return `${images[beginning] ?? ''}${name.slice(beginning.length)}`;
  }
  return image;
}

export const mapHost =
  (hosts: Readonly<Record<string, string>> = {}) =>
  (host: unknown): unknown => {
    if (typeof host !== 'string') return host;
    const exact = hosts[host];
    if (exact !== undefined) return exact;
    const domain = Object.keys(hosts).find((key) => key.startsWith('*.') && host.endsWith(key.slice(1)));
    return domain === undefined ? host : `${host.slice(0, -domain.length + 1)}${(hosts[domain] ?? '').replace(/^\*/, '')}`;
  };

function mapNodes(spec: unknown, maps: readonly LabelMap[]): unknown {
  return maps.reduce((current: unknown, map) => {
    const selected = update(current, ['nodeSelector'], (selector) => mapEntry(selector, map));
    const terms = [
      'affinity',
      'nodeAffinity',
      'requiredDuringSchedulingIgnoredDuringExecution',
      'nodeSelectorTerms',
      '*',
      'matchExpressions',
      '*',
    ];
    return update(selected, terms, (term) => mapTerm(term, map));
  }, spec);
}

/** One entry of a map of labels. A map that it leaves empty goes. */
function mapEntry(labels: unknown, { from: [key, value], to }: LabelMap): unknown {
  if (!isRecord(labels) || labels[key] !== value) return labels;
  const entries = Object.entries(labels).flatMap(([k, v]) => (k !== key ? [[k, v] as const] : to === undefined ? [] : [to]));
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** `{key, operator: In, values}`: a term that asks for the value asks for the other instead. */
function mapTerm(term: unknown, { from: [key, value], to }: LabelMap): unknown {
  const values = stringsAt(term, 'values');
  if (at(term, 'key') !== key || !values.includes(value)) return term;
  if (to === undefined) return values.length === 1 ? undefined : update(term, ['values', '*'], (v) => (v === value ? undefined : v));
  return values.length === 1
    ? put(put(term, ['key'], to[0]), ['values'], [to[1]])
    : update(term, ['values', '*'], (v) => (v === value && to[0] === key ? to[1] : v));
}

const SELECTORS = new Set(['selector', 'matchLabels', 'labels']);

/** Replaces a label wherever an object bears it or selects by it; what only looks like one (data, annotations) stays. */
function mapLabel(value: unknown, map: LabelMap, field = ''): unknown {
  if (Array.isArray(value)) {
    const items = (value as readonly unknown[]).map((item) => (field === 'matchExpressions' ? mapTerm(item, map) : mapLabel(item, map)));
    return items.filter((item) => item !== undefined);
  }
  if (!isRecord(value)) return value;
  if (SELECTORS.has(field) && Object.keys(value).length > 0 && Object.values(value).every((v) => typeof v === 'string')) {
    return mapEntry(value, map);
  }
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, OPAQUE.has(key) ? child : mapLabel(child, map, key)]));
}

const OPAQUE = new Set(['data', 'stringData', 'binaryData', 'annotations', 'nodeSelector', 'nodeAffinity', 'nodeSelectorTerms', 'status']);
