import { kindId } from '../discovery/pod-template.ts';
import { at } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { KubeObject } from '../model.ts';
import { mapSteps } from './later.ts';
import type { Mapping } from './mapping.ts';
import type { Confidence, RestorePlan, RestoreStep, TextEdit } from './model.ts';
import { decodedText, textSpots } from './text-spots.ts';
import type { TextSpot } from './text-spots.ts';
import { mapHost } from './value-maps.ts';

export const CONFIDENCES: readonly Confidence[] = ['sure', 'likely', 'guess'];

/** What is called otherwise after the restore. */
export interface Renaming {
  readonly map: Mapping;
  readonly hosts: Readonly<Record<string, string>>;
  /** Names of the backup's services to those after the restore. */
  readonly services: ReadonlyMap<string, string>;
  readonly accept: Confidence | undefined;
}

const HOST = /[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/gi;
const NAMES_A_HOST = /host|addr|server|service|endpoint|url|uri|dsn|broker|node|peer|master|primary|replica/i;
const NAMES_A_NAMESPACE = /namespace|(^|[_.-])ns$/i;

/** The edits that an object's text calls for, in order. The object is mapped already. Pure. */
export function proposeEdits(object: KubeObject, renaming: Renaming): readonly TextEdit[] {
  const { map, hosts, services, accept } = renaming;
  const isMoved = map.from !== map.to;
  const isRenamed = [...services].some(([from, to]) => from !== to);
  if (!isMoved && !isRenamed && Object.keys(hosts).length === 0) return [];
  const accepted = accept === undefined ? [] : CONFIDENCES.slice(0, CONFIDENCES.indexOf(accept) + 1);
  return textSpots(object).flatMap((spot) =>
    replacementsIn(spot, renaming)
      // A word of a Secret that merely equals a name may be its value.
      .filter(({ confidence }) => object.kind !== 'Secret' || confidence !== 'guess')
      .map(({ from, to, confidence, offset }) => ({
        ref: refOf(object),
        where: spot.where,
        from,
        to,
        confidence,
        apply: accepted.includes(confidence),
        field: spot.field,
        isEncoded: spot.isEncoded,
        offset: spot.offset + offset,
      })),
  );
}

interface Replacement {
  readonly from: string;
  readonly to: string;
  readonly confidence: Confidence;
  readonly offset: number;
}

function replacementsIn(spot: TextSpot, renaming: Renaming): readonly Replacement[] {
  return [...spot.value.matchAll(HOST)].flatMap((match) => {
    const [from] = match;
    const found = replacementOf(from, spot, match.index, renaming);
    return found === undefined || found.to === from ? [] : [{ from, ...found, offset: match.index }];
  });
}

function replacementOf(
  word: string,
  spot: TextSpot,
  index: number,
  { map, hosts, services }: Renaming,
): { readonly to: string; readonly confidence: Confidence } | undefined {
  const mapped = mapHost(hosts)(word.toLowerCase());
  if (typeof mapped === 'string' && mapped !== word.toLowerCase()) return { to: mapped, confidence: 'sure' };
  const labels = word.split('.');
  const inHost = hostReplacement(labels, { map, services });
  if (inHost !== undefined) return inHost;
  if (labels.length > 1) return undefined;
  if (word === map.from && word === bare(spot.value) && NAMES_A_NAMESPACE.test(spot.name)) return { to: map.to, confidence: 'likely' };
  const renamed = services.get(word);
  if (renamed === undefined || renamed === word) return undefined;
  const around = `${spot.value.slice(Math.max(0, index - 2), index)}\0${spot.value.slice(index + word.length, index + word.length + 7)}`;
  const isInAddress = /(\/\/|@)\0|\0:\d{2,5}(?!\d)/.test(around);
  if (isInAddress || (word === bare(spot.value) && NAMES_A_HOST.test(spot.name))) return { to: renamed, confidence: 'likely' };
  return word === bare(spot.value) ? { to: renamed, confidence: 'guess' } : undefined;
}

/** `db.shop`, `db.shop.svc`, `db-0.db.shop.svc.cluster.local`, `db.svc`. */
function hostReplacement(
  labels: readonly string[],
  { map, services }: Pick<Renaming, 'map' | 'services'>,
): { readonly to: string; readonly confidence: Confidence } | undefined {
  const i = labels.indexOf(map.from, 1);
  if (i < 1) {
    // A pod of a StatefulSet by its short name.
    const renamed = labels.length === 2 ? services.get(labels[1] ?? '') : undefined;
    return renamed === undefined || renamed === labels[1] ? undefined : { to: `${labels[0] ?? ''}.${renamed}`, confidence: 'likely' };
  }
  const service = labels[i - 1] ?? '';
  const isKnown = services.has(service);
  const isFull = labels[i + 1] === 'svc';
  if (!isFull && !(isKnown && labels.length === i + 1)) return undefined;
  const to = labels
    .with(i, map.to)
    .with(i - 1, services.get(service) ?? service)
    .join('.');
  return { to, confidence: isFull && isKnown ? 'sure' : 'likely' };
}

function bare(value: string): string {
  return value.trim().replace(/^(["'])(.*)\1$/, '$2');
}

/** The plan with its accepted edits made in the manifests. Throws USAGE when the text is not what the edit was proposed for. */
export function withEdits(plan: RestorePlan): RestorePlan {
  const edits = Map.groupBy(
    (plan.edits ?? []).filter((edit) => edit.apply),
    (edit) => refKey(edit.ref),
  );
  if (edits.size === 0) return plan;
  return mapSteps(plan, (step): RestoreStep => {
    const own = 'manifest' in step ? (edits.get(refKey(step.ref)) ?? []) : [];
    // From the end, so that the offsets of those before stay true.
    const ordered = own.toSorted((a, b) => b.offset - a.offset);
    return 'manifest' in step && own.length > 0 ? { ...step, manifest: ordered.reduce(edited, step.manifest) } : step;
  });
}

function edited(object: KubeObject, edit: TextEdit): KubeObject {
  const found = valueAt(object, edit.field);
  const text = typeof found === 'string' ? (edit.isEncoded ? decodedText(found) : found) : undefined;
  if (text?.slice(edit.offset, edit.offset + edit.from.length) !== edit.from) {
    throw new DmaasError('USAGE', `${edit.where} of ${refName(edit.ref)} does not say any more what the edit was proposed for`, {
      hint: 'set apply: false for that edit, or plan the restore again',
    });
  }
  const after = `${text.slice(0, edit.offset)}${edit.to}${text.slice(edit.offset + edit.from.length)}`;
  return putAt(object, edit.field, edit.isEncoded ? Buffer.from(after).toString('base64') : after) as KubeObject;
}

function valueAt(value: unknown, field: readonly string[]): unknown {
  return field.reduce<unknown>((here, key) => (Array.isArray(here) ? (here as unknown[])[Number(key)] : at(here, key)), value);
}

function putAt(value: unknown, [key, ...rest]: readonly string[], to: unknown): unknown {
  if (key === undefined) return to;
  if (Array.isArray(value)) return (value as unknown[]).with(Number(key), putAt((value as unknown[])[Number(key)], rest, to));
  return { ...(value as object), [key]: putAt(at(value, key), rest, to) };
}

/** What the restored objects are called to whom they call by name. */
export function servicesOf(items: readonly { readonly captured: KubeObject; readonly object: KubeObject }[]): ReadonlyMap<string, string> {
  return new Map(
    items
      .filter(({ captured }) => kindId(captured) === 'Service')
      .map(({ captured, object }) => [captured.metadata.name, object.metadata.name]),
  );
}
