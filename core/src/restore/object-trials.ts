import type { Cluster } from '../cluster/cluster.ts';
import { mapConcurrent } from '../cluster/map-concurrent.ts';
import { idOfKind } from '../discovery/inventory.ts';
import { kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { stringAt } from '../discovery/read.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import { activeForm } from './activation.ts';
import { isOwn, isSent } from './conflicts.ts';
import { describeDiff, diffFields } from './diff.ts';
import { about, listed, onTarget } from './hints.ts';
import { everyStep } from './later.ts';
import type { ApplyStep, ClaimStep, RestorePlan, RestoreStep, TargetState } from './model.ts';
import { isTerminating } from './plan-checks.ts';
import { REQUESTS_AT_ONCE } from './read-target.ts';
import { scrub } from './scrub.ts';
import { withEdits } from './text-references.ts';

type Sent = ApplyStep | ClaimStep;

/** The server's own dry run of each object of a plan: schema, quota, admission webhooks and policies answer as they will. Its steps with the answers, and what stands in the way. */
export async function tryObjects(
  plan: RestorePlan,
  target: TargetState,
  cluster: Cluster,
  run: RunOptions,
): Promise<Pick<RestorePlan, 'steps' | 'findings'>> {
  const isSending = (step: RestoreStep): step is Sent => (step.do === 'apply' || step.do === 'create-claim') && isSent(step.action);
  const untried = untriedReason(plan, target, trialsOf(plan));
  const existing = new Map(target.existing.map((o) => [refKey(refOf(o)), o]));
  const edited = everyStep(withEdits(plan));
  const tried = await mapConcurrent(
    everyStep(plan).map((step, i) => ({ step, edited: edited[i] })),
    REQUESTS_AT_ONCE,
    async ({ step, edited: sent }): Promise<{ readonly step: RestoreStep; readonly finding?: Finding }> => {
      if (!isSending(step)) return { step };
      throwIfCancelled(run.signal);
      const message = untried(step);
      if (message !== undefined) return { step: { ...step, server: { verdict: 'not-asked', message } } };
      return tryObject(
        step,
        sent !== undefined && 'manifest' in sent ? sent.manifest : step.manifest,
        existing.get(refKey(step.ref)),
        plan,
        cluster,
      );
    },
  );
  const untriedCount = tried.filter(({ step }) => 'server' in step && step.server.verdict === 'not-asked').length;
  const note: Finding[] =
    target.namespace !== undefined || untriedCount === 0
      ? []
      : [
          {
            level: 'info',
            code: 'not-tried',
            message: `the server tries ${String(untriedCount)} objects only when namespace ${plan.target.namespace} exists`,
            hint: onTarget(`kubectl create namespace ${plan.target.namespace}`, plan.target),
          },
        ];
  return { steps: tried.map(({ step }) => step), findings: [...tried.flatMap(({ finding }) => finding ?? []), ...note] };
}

/** Objects of a kind that the server is asked about. What it refuses, it refuses for reasons that most of a kind share; updates are all tried, for their changes. */
const TRIALS_PER_KIND = 50;

function trialsOf(plan: RestorePlan): ReadonlySet<Sent> {
  const counts = new Map<string, number>();
  const sent = everyStep(plan).filter((step): step is Sent => step.do === 'apply' || step.do === 'create-claim');
  return new Set(
    sent.filter(({ action, ref }) => {
      if (action !== 'create') return true;
      const count = (counts.get(kindId(ref)) ?? 0) + 1;
      counts.set(kindId(ref), count);
      return count <= TRIALS_PER_KIND;
    }),
  );
}

/** Why the server is not asked about a step, if it is not. */
function untriedReason(plan: RestorePlan, target: TargetState, trials: ReadonlySet<Sent>): (step: Sent) => string | undefined {
  // What is refused already would only be refused again, in other words.
  const blocked = new Set(plan.findings.flatMap((f) => (f.level === 'blocker' && f.ref !== undefined ? [refKey(f.ref)] : [])));
  const kinds = new Set(target.kinds.map(idOfKind));
  const coming = new Set(everyStep(plan).flatMap((step) => ('manifest' in step && isSent(step.action) ? [refKey(step.ref)] : [])));
  const own = new Set(target.existing.filter((o) => isOwn(o, plan.id)).map((o) => refKey(refOf(o))));
  const { namespace } = plan.target;
  return (step) => {
    if (blocked.has(refKey(step.ref))) return 'it is refused already';
    if (own.has(refKey(step.ref))) return 'this restore made it before';
    if (!kinds.has(kindId(step.ref))) return 'its kind is not served yet';
    if (needsOthersFirst(step, coming)) return 'it needs others of this plan first';
    if (step.ref.namespace !== undefined && target.namespace === undefined) return `namespace ${namespace} does not exist yet`;
    if (step.ref.namespace !== undefined && isTerminating(target.namespace)) return `namespace ${namespace} is being deleted`;
    if (!trials.has(step)) return `${String(TRIALS_PER_KIND)} others of its kind are tried`;
    return undefined;
  };
}

/** Objects that the server accepts only after others of the same plan are there. */
function needsOthersFirst(step: Sent, coming: ReadonlySet<string>): boolean {
  const { manifest, ref } = step;
  const inNamespace = (kind: string, name: string, apiVersion = 'v1'): ObjectRef => ({
    apiVersion,
    kind,
    name,
    ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
  });
  if (ref.kind === 'RoleBinding' || ref.kind === 'ClusterRoleBinding') {
    const kind = stringAt(manifest, 'roleRef', 'kind') ?? '';
    const name = stringAt(manifest, 'roleRef', 'name') ?? '';
    const role = { apiVersion: ref.apiVersion, kind, name };
    return coming.has(refKey(kind === 'Role' ? inNamespace(kind, name, ref.apiVersion) : role));
  }
  if (ref.kind !== 'Pod') return false;
  return coming.has(refKey(inNamespace('ServiceAccount', stringAt(manifest, 'spec', 'serviceAccountName') ?? 'default')));
}

/** The server keeps what others have set and the backup does not have: only it knows what the object will be. */
async function tryUpdate(
  step: ApplyStep,
  manifest: KubeObject,
  existing: KubeObject | undefined,
  plan: RestorePlan,
  cluster: Cluster,
): Promise<{ readonly step: Sent; readonly finding?: Finding }> {
  const sent = activeForm(manifest);
  const after = scrub(await cluster.apply(sent, { dryRun: true, force: true })).object;
  const server = { verdict: 'accepted' } as const;
  if (existing === undefined) return { step: { ...step, server } };
  const changes = describeDiff(scrub(existing).object, after);
  // A workload is stopped and started by other steps of the plan, whatever becomes of its fields.
  const isThere = changes.length === 0 && podTemplateOf(manifest) === undefined;
  const settled = isThere
    ? ({ ...step, action: 'skip', changes, reason: 'the target has all of it', server } as const)
    : { ...step, changes, server };
  const kept = diffFields(scrub(sent).object, after).flatMap(({ path, before }) =>
    before === undefined && !path.startsWith('metadata') ? path : [],
  );
  if (kept.length === 0) return { step: settled };
  const { kind, name } = step.ref;
  return {
    step: settled,
    finding: {
      level: ['ConfigMap', 'Secret'].includes(kind) ? 'warning' : 'info',
      code: 'fields-kept',
      message: `${refName(step.ref)} keeps what the backup does not have: ${listed(kept)}`,
      ref: step.ref,
      hint: onTarget(
        `kubectl edit ${kind.toLowerCase()} ${name}${step.ref.namespace === undefined ? '' : ` -n ${step.ref.namespace}`}`,
        plan.target,
      ),
    },
  };
}

async function tryObject(
  step: Sent,
  manifest: KubeObject,
  existing: KubeObject | undefined,
  plan: RestorePlan,
  cluster: Cluster,
): Promise<{ readonly step: Sent; readonly finding?: Finding }> {
  try {
    if (step.action === 'update') return await tryUpdate(step, manifest, existing, plan, cluster);
    await cluster.create(manifest, { dryRun: true });
    return { step: { ...step, server: { verdict: 'accepted' } } };
  } catch (e) {
    if (!DmaasError.is(e)) throw e;
    // A webhook that does not answer is a 500 of the server, which itself is well.
    const isAnswer = ['CLUSTER_REJECTED', 'CLUSTER_FORBIDDEN', 'CLUSTER_CONFLICT'].includes(e.code) || e.details['status'] === 500;
    if (!isAnswer) throw e;
    const refused = { ...step, server: { verdict: 'refused', message: e.message } } as const;
    const denied = e.code === 'CLUSTER_FORBIDDEN' && plan.findings.some((f) => f.code === 'access-denied');
    if (denied) return { step: refused }; // said with the right that is missing
    return {
      step: refused,
      finding: {
        level: 'blocker',
        code: 'refused-by-server',
        message: about(step.ref, e.message),
        ref: step.ref,
        hint: e.hint ?? `--exclude ${step.ref.kind.toLowerCase()}/${step.ref.name}`,
      },
    };
  }
}
