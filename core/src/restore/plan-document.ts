import { parse as parseYaml } from 'yaml';
import * as z from 'zod';
import { kindId } from '../discovery/pod-template.ts';
import { DmaasError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { ANNOTATIONS, isOperationId } from '../operation.ts';
import { activated, everyStep, mapSteps } from './later.ts';
import type { RestorePlan } from './model.ts';
import { HIDDEN } from './plan.ts';
import { CLUSTER_SCOPED_KINDS } from './prepare.ts';
import type { Item } from './prepare.ts';
import { INACTIVE_NODE_LABEL } from './rest.ts';
import { isRecord, sameJson, update } from './rewrite.ts';

const ref = z.object({ apiVersion: z.string(), kind: z.string(), name: z.string(), namespace: z.string().exactOptional() });
const manifest = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().exactOptional() }),
});
const phase = z.enum(['populate', 'activate']);
const sent = { phase, ref, source: ref, manifest, changes: z.array(z.string()) };
/** What stops or starts a workload changes nothing else of it: consent was given to the manifests. */
const merge = z.strictObject({
  spec: z.union([
    z.strictObject({ replicas: z.number().int().nonnegative() }),
    z.strictObject({ suspend: z.boolean() }),
    z.strictObject({
      template: z.strictObject({
        spec: z.strictObject({ nodeSelector: z.strictObject({ [INACTIVE_NODE_LABEL]: z.string().nullable() }) }),
      }),
    }),
  ]),
});
const activation = merge.extend({
  metadata: z.strictObject({ annotations: z.strictObject({ [ANNOTATIONS.activate]: z.null() }) }).exactOptional(),
});
const step = z.discriminatedUnion('do', [
  z.looseObject({ do: z.literal('apply'), action: z.enum(['create', 'update', 'skip', 'conflict']), ...sent }),
  z.looseObject({ do: z.literal('create-claim'), action: z.enum(['create', 'skip', 'conflict']), ...sent }),
  z.looseObject({
    do: z.literal('populate'),
    phase: z.literal('populate'),
    claim: ref,
    index: z.number().int().nonnegative(),
    mode: z.enum(['filesystem', 'block']),
    root: z.string(),
    bytes: z.number().nonnegative(),
    files: z.number().nonnegative(),
    profile: z.enum(['baseline', 'restricted']),
    identity: z.looseObject({}),
    placement: z.looseObject({}),
    inPlace: z.object({ uid: z.string() }).exactOptional(),
  }),
  z.looseObject({ do: z.literal('stop'), phase: z.literal('populate'), ref, patch: merge, back: merge, how: z.string() }),
  z.looseObject({ do: z.literal('delete-pod'), phase: z.literal('populate'), ref, uid: z.string() }),
  z.looseObject({ do: z.literal('wait-unused'), phase: z.literal('populate'), claims: z.array(ref).min(1) }),
  z.looseObject({ do: z.literal('snapshot'), phase: z.literal('populate'), ref, claim: ref, back: manifest }),
  z.looseObject({ do: z.literal('start'), phase: z.literal('activate'), ref, patch: merge }),
  z.looseObject({ do: z.literal('create-pod'), phase: z.literal('activate'), ref, pod: manifest }),
  z.looseObject({ do: z.literal('activate'), phase, ref, patch: activation, how: z.string() }),
  z.looseObject({ do: z.literal('wait-ready'), phase, ref, timeoutMs: z.number().positive() }),
  z.looseObject({ do: z.literal('link-owners'), phase, ref, owners: z.array(z.looseObject({ ref })) }),
]);
const finding = z.looseObject({ level: z.enum(['blocker', 'warning', 'info']), code: z.string(), message: z.string() });
const document = z.looseObject({
  schema: z.literal(1),
  id: z.string().refine(isOperationId),
  backup: z.string(),
  backupId: z.string(),
  options: z.looseObject({ activate: z.boolean() }),
  source: z.looseObject({ app: z.string(), namespace: z.string(), cluster: z.string() }),
  target: z.looseObject({ context: z.string(), clusterId: z.string(), namespace: z.string() }),
  steps: z.array(step),
  later: z.array(step).exactOptional(),
  findings: z.array(finding),
});

/**
 * Reads a plan as `restore plan` wrote it, YAML or JSON, perhaps edited since. Secrets hold placeholders still: `withSecrets` fills them. Throws
 * USAGE for what is no plan, and for a plan that reaches beyond its namespace.
 */
export function parsePlanDocument(text: string): RestorePlan {
  let value: unknown;
  try {
    value = text.trimStart().startsWith('{') ? parseJson(text) : withNumbers(parseYaml(text, YAML_OPTIONS));
  } catch (cause) {
    if (DmaasError.is(cause)) throw cause;
    throw new DmaasError('USAGE', 'the file is no restore plan: it is neither YAML nor JSON', { cause });
  }
  const parsed = document.safeParse(value);
  if (!parsed.success) {
    const field = parsed.error.issues[0]?.path.join('.') ?? '';
    throw new DmaasError('USAGE', `the file is no restore plan${field === '' ? '' : `: ${field} is missing or not valid`}`, {
      cause: parsed.error,
      hint: 'kubectl dmaas restore plan BACKUP > plan.yaml',
    });
  }
  const plan = parsed.data as unknown as RestorePlan;
  for (const each of everyStep(plan)) checkScope(each, plan);
  // Whoever has edited it to activate at once means all of it.
  return plan.options.activate && plan.later !== undefined ? activated(plan) : plan;
}

/** What JSON has and nothing else, whatever a directive or a tag of the document asks for: no dates, sets or bytes. */
const YAML_OPTIONS = { intAsBigInt: true, prettyErrors: false, schema: 'core', resolveKnownTags: false, logLevel: 'error' } as const;

/** Numbers of YAML, as JSON has them. */
function withNumbers(value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new DmaasError('USAGE', `the file is no restore plan: ${String(value)} stands in it, which no API server takes`);
  }
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(withNumbers);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, withNumbers(field)]));
}

function checkScope(each: RestorePlan['steps'][number], plan: RestorePlan): void {
  const back = each.do === 'snapshot' ? [each.claim, refOf(each.back)] : [];
  const named = each.do === 'populate' ? [each.claim] : each.do === 'wait-unused' ? each.claims : [each.ref];
  for (const ref of [...named, ...back]) checkInside(each, ref, plan);
}

function checkInside(each: RestorePlan['steps'][number], named: ObjectRef, { target }: RestorePlan): void {
  const isInside =
    named.namespace === undefined
      ? CLUSTER_SCOPED_KINDS.includes(kindId(named)) || (kindId(named) === 'Namespace' && named.name === target.namespace)
      : named.namespace === target.namespace;
  if (!isInside)
    throw new DmaasError(
      'USAGE',
      `the plan names ${refName(named, true)}, and a restore to namespace ${target.namespace} touches no such thing`,
    );
  const held = 'manifest' in each ? each.manifest : each.do === 'create-pod' ? each.pod : undefined;
  if (held !== undefined && !sameJson(refOf(held), named))
    throw new DmaasError('USAGE', `the plan says ${refName(named, true)} and holds the manifest of ${refName(refOf(held), true)}`);
}

/** The plan with the values of its Secrets, as the backup has them after mapping; `items` are the backup's, prepared with the plan's options. */
export function withSecrets(plan: RestorePlan, items: readonly Item[]): RestorePlan {
  const byKey = new Map(items.map((item) => [refKey(refOf(item.captured)), item.object]));
  return mapSteps(plan, (each) => {
    if (each.do !== 'apply' || each.manifest.kind !== 'Secret') return each;
    const found = byKey.get(refKey(each.source));
    return { ...each, manifest: ['data', 'stringData'].reduce((secret, field) => fill(secret, field, found), each.manifest) };
  });
}

function fill(secret: KubeObject, field: string, from: KubeObject | undefined): KubeObject {
  const values = from?.[field];
  return update(secret, [field], (map) => {
    if (!isRecord(map)) return map;
    return Object.fromEntries(
      Object.entries(map).map(([key, value]) => {
        if (value !== HIDDEN) return [key, value];
        if (isRecord(values) && typeof values[key] === 'string') return [key, values[key]];
        throw new DmaasError('USAGE', `the backup has no value for ${field}.${key} of ${refName(refOf(secret))}`, {
          hint: 'write the value into the plan, or remove the key',
        });
      }),
    );
  });
}
