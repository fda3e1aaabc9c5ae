import type { Cluster } from '../cluster/cluster.ts';
import { withoutRepeats } from '../discovery/findings.ts';
import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import type { MoverOptions, MoverSpec } from '../mover/job.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { checkAdmission, probeStore } from '../transfer/preflight.ts';
import { onTarget } from './hints.ts';
import type { RestorePlan } from './model.ts';

export interface TrialDeps {
  readonly cluster: Cluster;
  /** Of the repository that holds the backup: what is done is recorded there, by movers too. */
  readonly objects: ObjectStore;
  readonly moverOptions: MoverOptions;
  readonly now?: () => Date;
}

/** Tries what every restore needs besides its objects: movers that the namespace admits, a bucket that takes records, and a clock like the bucket's. */
export async function tryMoversAndStore(
  plan: RestorePlan,
  hasNamespace: boolean,
  { cluster, objects, moverOptions, now = () => new Date() }: TrialDeps,
  run: RunOptions,
): Promise<readonly Finding[]> {
  const { namespace } = plan.target;
  const [refused, store] = await Promise.all([
    hasNamespace ? checkAdmission(cluster, namespace, moversOf(plan), moverOptions) : [],
    probeStore(objects, now, run),
  ]);
  const hint = onTarget(`kubectl describe resourcequotas,limitranges -n ${namespace}`, plan.target);
  // Of movers of several kinds one is enough.
  return [...withoutRepeats(refused.map((finding) => ({ hint, ...finding }))), ...store];
}

function moversOf({ id, steps, target }: RestorePlan): readonly MoverSpec[] {
  return steps.flatMap((step): MoverSpec[] => {
    if (step.do !== 'populate') return [];
    const { index, claim, mode, profile, identity, placement } = step;
    return [
      { operation: id, index, namespace: target.namespace, direction: 'populate', claim: claim.name, mode, profile, identity, placement },
    ];
  });
}
