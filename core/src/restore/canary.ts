import type { Access, Cluster } from '../cluster/cluster.ts';
import { parseQuantity } from '../discovery/quantity.ts';
import { withoutRepeats } from '../discovery/findings.ts';
import { at, mapAt } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refKey } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { moverDataPath } from '../mover/job.ts';
import type { MoverSpec } from '../mover/job.ts';
import type { Mover } from '../mover/mover.ts';
import { operationLabels, operationObjectName } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { parseBlobId } from '../repository/format/blob.ts';
import type { StoreConfig } from '../store/config.ts';
import { CANARY_ROLE, cleanupOperation } from '../transfer/cleanup.ts';
import { forEachOrStop } from '../transfer/for-each-or-stop.ts';
import { onTarget } from './hints.ts';
import { storageClassOf } from './mapping.ts';
import type { ClaimStep, PopulateStep, RestorePlan, TargetState } from './model.ts';
import { put } from './rewrite.ts';
import { usableClasses } from './storage-checks.ts';

/** One kind of volume that a plan has made and filled, with what stands for all of them. */
export interface Canary {
  readonly storageClass: string;
  readonly populate: PopulateStep;
  /** As the plan's claim, but small and of no application. */
  readonly claim: KubeObject;
}

export interface CanaryDeps {
  readonly cluster: Cluster;
  /** With the time that a canary may take. */
  readonly mover: Mover;
  /** What movers get: see `PopulateDeps`. */
  readonly store: StoreConfig;
  readonly unlock: string;
  readonly maxMovers: number;
}

/** Storage systems round smaller sizes up, and some refuse them. */
const SIZE = '1Gi';

/**
 * What has to be tried before a plan is known to have its volumes made and filled: volumes that differ in nothing that a storage class, a node or a
 * Pod Security level looks at are tried once. Pure. Storage classes that do not exist are not tried: that is another check's finding.
 */
export function canariesOf(id: OperationId, plan: RestorePlan, target: Pick<TargetState, 'storageClasses'>): readonly Canary[] {
  const exist = new Set(target.storageClasses.map((c) => c.metadata.name));
  const claims = new Map(
    plan.steps.filter((s): s is ClaimStep => s.do === 'create-claim' && s.action === 'create').map((s) => [refKey(s.ref), s.manifest]),
  );
  const canaries = new Map<string, Canary>();
  for (const populate of plan.steps) {
    const claim = populate.do === 'populate' ? claims.get(refKey(populate.claim)) : undefined;
    if (populate.do !== 'populate' || claim === undefined || !exist.has(storageClassOf(claim))) continue;
    const { profile, identity, placement } = populate;
    const storageClass = storageClassOf(claim);
    const key = JSON.stringify([
      storageClass,
      at(claim, 'spec', 'volumeMode'),
      at(claim, 'spec', 'accessModes'),
      profile,
      identity,
      placement,
    ]);
    if (canaries.has(key)) continue;
    canaries.set(key, { storageClass, populate, claim: canaryClaim(claim, operationObjectName(id, 'canary', canaries.size), id) });
  }
  return [...canaries.values()];
}

function canaryClaim(claim: KubeObject, name: string, id: OperationId): KubeObject {
  const size = parseQuantity(mapAt(claim, 'spec', 'resources', 'requests')['storage'] ?? '') ?? Infinity;
  const small = size > (parseQuantity(SIZE) ?? 0) ? put(claim, ['spec', 'resources', 'requests', 'storage'], SIZE) : claim;
  const classed = put(small, ['spec', 'storageClassName'], storageClassOf(claim)); // annotations, which may name it too, are left out
  const { namespace } = claim.metadata;
  const labels = operationLabels(id, CANARY_ROLE);
  return { ...classed, metadata: { name, ...(namespace === undefined ? {} : { namespace }), labels } };
}

/** Beyond what filling the plan's own claims takes. */
function moreNeeds(namespace: string): readonly Access[] {
  return ['list', 'delete'].map((verb) => ({ verb, group: '', resource: 'persistentvolumeclaims', namespace }));
}

/**
 * Makes a small volume of each kind that the plan will make, and lets a mover like those of the plan write and read it and read from the
 * repository. What it makes bears the id of an operation of its own and is taken away again, however it ends; should this process die, it goes with the Jobs,
 * which end by themselves, or with a clean-up. Each canary is a finding: what works is worth knowing too.
 */
export async function tryCanaries(
  id: OperationId,
  plan: RestorePlan,
  target: TargetState,
  deps: CanaryDeps,
  run: RunOptions,
): Promise<readonly Finding[]> {
  const { namespace } = plan.target;
  const canaries = canariesOf(id, plan, target);
  if (canaries.length === 0) return [];
  const notTried = (why: string, hint: string): readonly Finding[] => [
    { level: 'warning', code: 'canary-not-tried', message: `no canary was tried: ${why}`, hint },
  ];
  if (target.namespace === undefined)
    return notTried(`namespace ${namespace} does not exist yet`, onTarget(`kubectl create namespace ${namespace}`, plan.target));
  if (target.denied.length > 0) return notTried('rights are missing', 'see what you may not do, above');
  const denied = (await deps.cluster.denied(moreNeeds(namespace)))[0];
  if (denied !== undefined) {
    const command = `kubectl auth can-i ${denied.verb} ${denied.resource} -n ${namespace}`;
    return notTried(`you may not ${denied.verb} ${denied.resource} in namespace ${namespace}`, onTarget(command, plan.target));
  }
  try {
    const findings = new Map<Canary, Finding>();
    await forEachOrStop(canaries, deps.maxMovers, run, async (canary, each) => {
      findings.set(canary, await tryCanary(id, canary, plan, target, deps, each));
    });
    // Canaries of several kinds say the same where it is not the kind that matters.
    const found = withoutRepeats(canaries.flatMap((canary) => findings.get(canary) ?? []));
    return [...found, ...(await cleanupOperation(deps.cluster, namespace, id)).findings];
  } catch (e) {
    await cleanupOperation(deps.cluster, namespace, id).catch(() => undefined); // it never hides why it came to it
    throw e;
  }
}

async function tryCanary(
  id: OperationId,
  { storageClass, populate, claim }: Canary,
  plan: RestorePlan,
  target: TargetState,
  deps: CanaryDeps,
  run: RunOptions,
): Promise<Finding> {
  const { mode, profile, identity, placement } = populate;
  const { name } = claim.metadata;
  const index = Number(name.slice(name.lastIndexOf('-') + 1));
  const spec: MoverSpec = {
    ...{ operation: id, index, namespace: plan.target.namespace, direction: 'populate', claim: name },
    ...{ mode, profile, identity, placement, isTrial: true },
  };
  const title = `try storage class ${storageClass} with a canary`;
  run.emit({ type: 'step', phase: 'preflight', title, state: 'start' });
  const startedAt = performance.now();
  try {
    await deps.mover.run(
      {
        spec,
        ownClaim: claim,
        task: {
          ...{ schema: 1, operation: id, index, direction: 'probe', volume: { claim: name, mode }, path: moverDataPath(mode) },
          ...{ store: deps.store, unlock: deps.unlock },
          root: parseBlobId(populate.root, `the volume ${populate.claim.name} of the backup`),
        },
      },
      // The progress of a canary is nobody's.
      { ...run, emit: () => undefined },
    );
  } catch (e) {
    if (!DmaasError.is(e) || e.code === 'CANCELLED') throw e;
    run.emit({ type: 'step', phase: 'preflight', title, state: 'failed', reason: e.message });
    return canaryFailed(storageClass, e, populate, plan, target);
  }
  run.emit({ type: 'step', phase: 'preflight', title, state: 'done' });
  const seconds = Math.ceil((performance.now() - startedAt) / 1000);
  const message = `a mover wrote to a new volume of storage class ${storageClass} and read from the bucket, ${String(seconds)} s after it was asked for`;
  return { level: 'info', code: 'canary-passed', message };
}

/** Where the cause is, and what helps there. */
function canaryFailed(storageClass: string, e: DmaasError, populate: PopulateStep, plan: RestorePlan, target: TargetState): Finding {
  const { about, fact = e.message, reported } = e.details;
  const what = populate.mode === 'block' ? 'block volume' : 'volume';
  const problem = (code: string, hint: string | undefined): Finding => ({
    level: 'blocker',
    code,
    message: `a canary on a ${what} of storage class ${storageClass} failed: ${String(fact)}`,
    ...(hint === undefined ? {} : { hint }),
  });
  const other = usableClasses(target).find((name) => name !== storageClass);
  const describe = onTarget(`kubectl describe storageclass ${storageClass}`, plan.target);
  const otherClass = other === undefined ? describe : `--map-storage-class ${storageClass}=${other}, or ${describe}`;
  if (about === 'image') return problem('canary-image', e.hint);
  if (about === 'volume') return problem('canary-volume', otherClass);
  if (about === 'node') {
    const asked = Object.entries(populate.placement.nodeSelector ?? {})[0];
    const map = asked === undefined ? '' : `--map-node-selector ${asked.join('=')}:KEY=VALUE, or `;
    return problem('canary-node', map + onTarget('kubectl describe nodes', plan.target));
  }
  if (about === 'admission')
    return problem('canary-refused', onTarget(`kubectl describe resourcequotas,limitranges -n ${plan.target.namespace}`, plan.target));
  if (typeof reported === 'string' && reported.startsWith('STORE_'))
    return problem('canary-bucket', e.hint ?? 'kubectl dmaas location check');
  return problem('canary-failed', e.hint);
}
