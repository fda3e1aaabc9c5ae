import { randomBytes } from 'node:crypto';
import { canICommand, resourceName } from '../cluster/api-errors.ts';
import type { Access, Cluster } from '../cluster/cluster.ts';
import { parseQuantity } from '../discovery/quantity.ts';
import { at, mapAt, stringAt, stringsAt } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { groupOf, refName, refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { DEFAULT_MOVER_IMAGE, MOVER_RESOURCES, renderMoverPod } from '../mover/job.ts';
import type { MoverOptions, MoverSpec } from '../mover/job.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { ifAllowed } from './facts.ts';
import type { BackupPlan, VolumePlan } from './model.ts';

export interface PreflightDeps {
  readonly cluster: Cluster;
  /** Where the backup is to go. */
  readonly objects: ObjectStore;
  readonly quotas?: readonly KubeObject[];
  readonly moverOptions?: MoverOptions;
  readonly maxMovers: number;
  readonly now?: () => Date;
}

/** From here on a clock is worth a warning: S3 refuses requests at 15 minutes. */
const CLOCK_WARNING_MS = 3 * 60_000;
const SNAPSHOT_GROUP = 'snapshot.storage.k8s.io';

/** Looks for everything that would stop a backup on its way, and changes nothing. All findings, not only the first. */
export async function checkBackup(
  plan: BackupPlan,
  specs: readonly MoverSpec[],
  deps: PreflightDeps,
  run: RunOptions,
): Promise<readonly Finding[]> {
  const { cluster } = deps;
  const namespace = plan.app.namespace;
  const findings = await Promise.all([
    checkAccess(cluster, neededAccess(plan)),
    checkClaims(cluster, plan.volumes),
    checkAdmission(cluster, namespace, specs, deps.moverOptions ?? {}),
    probeStore(deps.objects, deps.now ?? (() => new Date()), run),
  ]);
  return [...findings.flat(), ...quotaFindings(plan, deps.quotas ?? [], deps.maxMovers), ...imageFinding(plan, deps.moverOptions ?? {})];
}

/** The rights that executing the plan takes, in the application's namespace. Pure. */
export function neededAccess(plan: BackupPlan): Access[] {
  const { namespace } = plan.app;
  const on = (group: string, resource: string, verbs: readonly string[]): Access[] =>
    verbs.map((verb) => ({ verb, group, resource, namespace }));
  if (plan.volumes.length === 0) return [];
  const manage = ['get', 'list', 'watch', 'create', 'delete'];
  const isStaged = plan.volumes.some((v) => v.method === 'volume-snapshot');
  return [
    ...on('batch', 'jobs', [...manage, 'patch']),
    ...on('', 'secrets', manage),
    ...on('', 'pods', ['list', 'watch']),
    ...(plan.quiesce.hooks.length > 0 ? on('', 'pods/exec', ['get', 'create']) : []),
    ...plan.quiesce.scale.flatMap(({ ref }) =>
      on(groupOf(ref.apiVersion), `${ref.kind.toLowerCase()}s`, ['get', 'list', 'watch', 'patch']),
    ),
    ...on('', 'persistentvolumeclaims', isStaged ? manage : ['get']),
    ...(isStaged ? on(SNAPSHOT_GROUP, 'volumesnapshots', manage) : []),
    ...(plan.volumes.some((v) => v.staging?.snapshotRetained === true)
      ? ['get', 'patch'].map((verb) => ({ verb, group: SNAPSHOT_GROUP, resource: 'volumesnapshotcontents' }))
      : []),
  ];
}

async function checkAccess(cluster: Cluster, needs: readonly Access[]): Promise<Finding[]> {
  const denied = await cluster.denied(needs);
  return denied.map((access) => {
    const where = access.namespace === undefined ? '' : ` in namespace ${access.namespace}`;
    return {
      level: 'blocker',
      code: 'access-denied',
      message: `this identity may not ${access.verb} ${resourceName(access)}${where}`,
      hint: canICommand(access),
    };
  });
}

/** A plan rests on the volumes it saw. */
async function checkClaims(cluster: Cluster, volumes: readonly VolumePlan[]): Promise<Finding[]> {
  const findings = await Promise.all(
    volumes.map(async ({ volume }): Promise<Finding[]> => {
      const claim = await ifAllowed(cluster.get(volume.claim), 'not allowed');
      if (claim === 'not allowed') return []; // which the check of rights has told
      const bound = stringAt(claim, 'spec', 'volumeName');
      if (claim !== undefined && bound === volume.volumeName) return [];
      const fact = claim === undefined ? 'does not exist any more' : 'is bound to another volume now';
      const message = `${refName(volume.claim)} ${fact}: the plan is out of date`;
      return [{ level: 'blocker', code: 'plan-outdated', message, ref: volume.claim, hint: 'plan the backup again' }];
    }),
  );
  return findings.flat();
}

/** Lets the server judge the movers' pods: Pod Security, quotas, policies of admission webhooks. Pods that differ in names only are tried once. */
export async function checkAdmission(
  cluster: Cluster,
  namespace: string,
  specs: readonly MoverSpec[],
  options: MoverOptions,
): Promise<Finding[]> {
  const kinds = new Map(specs.map((spec) => [JSON.stringify([spec.profile, spec.mode, spec.identity, spec.direction]), spec]));
  if (kinds.size === 0) return [];
  // Jobs make pods by a controller's right; who may not do so cannot ask.
  if ((await cluster.denied([{ verb: 'create', group: '', resource: 'pods', namespace }])).length > 0) return [];
  const findings: Finding[] = [];
  for (const spec of kinds.values()) {
    try {
      await cluster.create(renderMoverPod(spec, options), { dryRun: true });
    } catch (e) {
      if (!DmaasError.is(e, 'CLUSTER_REJECTED')) throw e;
      // 400 is a webhook that cannot be asked without effects: no refusal.
      const level = e.details['status'] === 400 ? 'warning' : 'blocker';
      findings.push({
        level,
        code: 'mover-refused',
        message: `the namespace does not admit a mover: ${e.message}`,
        ...(e.hint === undefined ? {} : { hint: e.hint }),
      });
    }
  }
  return findings;
}

/** Writes, reads and deletes one object, and compares the clocks. */
export async function probeStore(objects: ObjectStore, now: () => Date, run: RunOptions): Promise<Finding[]> {
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const key = `check-${randomBytes(6).toString('hex')}/probe`;
  const body = randomBytes(64);
  const block = (code: string, message: string, hint?: string): Finding[] => [
    { level: 'blocker', code, message, ...(hint === undefined ? {} : { hint }) },
  ];
  const findings: Finding[] = [];
  try {
    await objects.put(key, body, { ...call, ifAbsent: true });
    const back = await objects.get(key, call);
    if (back === undefined || Buffer.compare(back, body) !== 0) {
      findings.push(
        ...block('store-inconsistent', `${objects.location} does not give back what was just written`, 'kubectl dmaas location check'),
      );
    }
    const info = await objects.stat(key, call);
    const skewMs = info === undefined ? 0 : Math.abs(info.modifiedAt.getTime() - now().getTime());
    if (skewMs > CLOCK_WARNING_MS) {
      const message = `the clocks of this machine and of ${objects.location} are ${Math.round(skewMs / 1000)} s apart`;
      findings.push({ level: 'warning', code: 'clock-skew', message, hint: 'set the clock, for example with chrony or timedatectl' });
    }
  } catch (e) {
    if (!DmaasError.is(e) || e.code === 'CANCELLED') throw e;
    return block(e.code.toLowerCase().replaceAll('_', '-'), e.message, e.hint);
  }
  try {
    await objects.delete(key);
  } catch (e) {
    if (!DmaasError.is(e)) throw e;
    const message = `${objects.location} does not let objects be deleted (${e.message}): a backup needs no such right, removing backups does`;
    findings.push({ level: 'info', code: 'store-keeps-objects', message });
  }
  return findings;
}

/** Whether the temporary objects fit into the namespace's quotas as they are now. Pure. */
export function quotaFindings(plan: BackupPlan, quotas: readonly KubeObject[], maxMovers: number): Finding[] {
  const needs = temporaryNeeds(plan, maxMovers);
  return quotas
    .filter((quota) => stringsAt(quota, 'spec', 'scopes').length === 0 && at(quota, 'spec', 'scopeSelector') === undefined)
    .flatMap((quota) =>
      Object.entries(mapAt(quota, 'spec', 'hard')).flatMap(([name, text]): Finding[] => {
        const hard = parseQuantity(text);
        const need = needs.get(/^(cpu|memory)$/.test(name) ? `requests.${name}` : name);
        const used = parseQuantity(mapAt(quota, 'status', 'used')[name] ?? '0') ?? 0;
        if (hard === undefined || need === undefined || need === 0 || used + need <= hard) return [];
        const message = `resource quota ${quota.metadata.name} leaves ${Math.max(0, hard - used)} of ${name}, and the backup needs ${need} for as long as it runs`;
        const hint = /storage|claims/.test(name)
          ? 'fewer movers at once need less: --max-movers 1'
          : `kubectl describe resourcequota ${quota.metadata.name} -n ${plan.app.namespace}`;
        return [{ level: 'blocker', code: 'quota-exceeded', message, ref: refOf(quota), hint }];
      }),
    );
}

function temporaryNeeds(plan: BackupPlan, maxMovers: number): ReadonlyMap<string, number> {
  const movers = Math.min(maxMovers, plan.volumes.length);
  const staged = plan.volumes.filter((v) => v.staging !== undefined);
  // At worst the largest ones are staged at the same time.
  const largest = staged.toSorted((a, b) => b.volume.capacityBytes - a.volume.capacityBytes).slice(0, maxMovers);
  const needs = new Map<string, number>([
    ['pods', movers],
    ['count/pods', movers],
    ['count/jobs.batch', movers],
    ['secrets', movers],
    ['count/secrets', movers],
    ['persistentvolumeclaims', largest.length],
    ['count/persistentvolumeclaims', largest.length],
    [`count/volumesnapshots.${SNAPSHOT_GROUP}`, staged.length],
  ]);
  const add = (name: string, amount: number) => needs.set(name, (needs.get(name) ?? 0) + amount);
  for (const { volume, staging } of largest) {
    add('requests.storage', volume.capacityBytes);
    add(`${staging?.storageClass ?? ''}.storageclass.storage.k8s.io/requests.storage`, volume.capacityBytes);
    add(`${staging?.storageClass ?? ''}.storageclass.storage.k8s.io/persistentvolumeclaims`, 1);
  }
  for (const side of ['requests', 'limits']) {
    for (const [resource, amount] of Object.entries(mapAt(MOVER_RESOURCES, side)))
      add(`${side}.${resource}`, movers * (parseQuantity(amount) ?? 0));
  }
  return needs;
}

function imageFinding(plan: BackupPlan, options: MoverOptions): Finding[] {
  if (plan.volumes.length === 0) return [];
  const image = options.image ?? DEFAULT_MOVER_IMAGE;
  return [{ level: 'info', code: 'mover-image', message: `movers run the image ${image}, which the nodes must have or be able to pull` }];
}
