import { commands } from 'vscode';
import type { AppSummary, ContextInfo, LocatedBackup } from '@dmaas/core';
import type { Catalog } from '../catalog.ts';
import { loadCore } from '../core.ts';
import type { Reporter } from '../reporter.ts';
import type { Session } from '../session.ts';
import { describeApp, describeClaim } from './describe.ts';
import type { BackupSubject, TreeNode } from './node.ts';

/** Cluster → namespace → application → its last backup and its volumes. */
export class Applications {
  readonly #session: Session;
  readonly #catalog: Catalog;
  readonly #reporter: Reporter;
  /** By context: what the cluster said when it was last asked. */
  readonly #found = new Map<string, Promise<{ readonly clusterId: string; readonly applications: readonly AppSummary[] }>>();

  /** By node: the volumes of an application. */
  readonly #volumes = new Map<string, Promise<readonly TreeNode[]>>();

  constructor(session: Session, catalog: Catalog, reporter: Reporter) {
    this.#session = session;
    this.#catalog = catalog;
    this.#reporter = reporter;
  }

  /** Asks clusters again: one, or all. */
  forget(context?: string): void {
    this.#volumes.clear();
    if (context === undefined) this.#found.clear();
    else this.#found.delete(context);
  }

  async roots(): Promise<readonly TreeNode[]> {
    return (await this.#session.contexts()).map((context) => this.#clusterNode(context));
  }

  #clusterNode({ name, isCurrent }: ContextInfo): TreeNode {
    return {
      id: name,
      shown: {
        label: name,
        ...(isCurrent ? { description: 'current context' } : {}),
        icon: 'server-environment',
        context: 'cluster',
        spoken: `Cluster ${name}${isCurrent ? ', current context' : ''}`,
        opens: isCurrent ? 'expanded' : 'collapsed',
      },
      subject: { kind: 'cluster', context: name },
      children: () => this.#namespaces(name),
    };
  }

  async #namespaces(context: string): Promise<readonly TreeNode[]> {
    const scope = `cluster ${context}`;
    try {
      const { clusterId, applications } = await this.#applications(context);
      void this.#catalog.connect(context);
      this.#reporter.recovered(scope);
      const byNamespace = [...Map.groupBy(applications, ({ namespace }) => namespace)];
      if (byNamespace.length === 0) return [note(`${context}/none`, 'No applications', 'Nothing in this cluster has workloads or volumes')];
      return byNamespace.map(([namespace, apps]) => ({
        id: `${context}/${namespace}`,
        shown: {
          label: namespace,
          icon: 'symbol-namespace',
          context: 'namespace',
          spoken: `Namespace ${namespace}`,
          opens: byNamespace.length > 6 ? 'collapsed' : 'expanded',
        },
        subject: { kind: 'namespace', context, namespace },
        children: () => Promise.all(apps.map((app) => this.#appNode(context, clusterId, app))),
      }));
    } catch (e) {
      this.#found.delete(context);
      this.#reporter.standing(scope, e, { title: 'Try Again', run: () => commands.executeCommand('dmaas.refresh') });
      throw e;
    }
  }

  #applications(context: string) {
    const known = this.#found.get(context);
    if (known !== undefined) return known;
    const asking = this.#ask(context);
    this.#found.set(context, asking);
    return asking;
  }

  async #ask(context: string) {
    const core = await loadCore();
    const cluster = await this.#session.cluster(context);
    const run = { emit: () => undefined };
    const listing = core.listApplications(cluster, {}, run).catch((e: unknown) => {
      // Many may look at one namespace only.
      if (!core.DmaasError.is(e, 'CLUSTER_FORBIDDEN')) throw e;
      return core.listApplications(cluster, { namespace: cluster.namespace }, run);
    });
    const [clusterId, { applications }] = await Promise.all([cluster.id(), listing]);
    return { clusterId, applications };
  }

  async #appNode(context: string, clusterId: string, app: AppSummary): Promise<TreeNode> {
    const core = await loadCore();
    const backups = this.#catalog.backups;
    const protection = core.protectionOf(
      app,
      clusterId,
      backups.map(({ located }) => located),
    );
    const latest = subjectOf(backups, protection.latest);
    const id = `${context}/${app.namespace}/${app.selectedBy}`;
    return {
      id,
      shown: describeApp(core, app, protection.state === 'none' && !this.#catalog.isWhole ? 'unknown' : protection, new Date()),
      subject: { kind: 'app', context, app, ...(latest === undefined ? {} : { latest }) },
      children: async () => [
        ...(latest === undefined ? [] : [await this.#latestNode(id, latest, protection.backups)]),
        ...(await this.#claims(id, context, app)),
      ],
    };
  }

  async #latestNode(parent: string, latest: BackupSubject, count: number): Promise<TreeNode> {
    const { formatAge, plural } = await loadCore();
    const { backup } = latest.located;
    return {
      id: `${parent}/latest`,
      shown: {
        label: backup.name,
        description: `last backup, ${formatAge(backup.createdAt, new Date())} ago`,
        icon: 'archive',
        tooltip: `${plural(count, 'backup')}; the last one is of ${backup.createdAt}`,
        context: 'latest',
        command: 'dmaas.revealLatest',
      },
      subject: latest,
    };
  }

  #claims(parent: string, context: string, app: AppSummary): Promise<readonly TreeNode[]> {
    const known = this.#volumes.get(parent);
    if (known !== undefined) return known;
    const asking = this.#askClaims(parent, context, app);
    this.#volumes.set(parent, asking);
    asking.catch(() => this.#volumes.delete(parent));
    return asking;
  }

  async #askClaims(parent: string, context: string, app: AppSummary): Promise<readonly TreeNode[]> {
    const core = await loadCore();
    const found = await core.discover(await this.#session.cluster(context), app.selector, { emit: () => undefined });
    return found.volumes.map((volume) => ({
      id: `${parent}/claim/${volume.claim.name}`,
      shown: describeClaim(core, volume),
      subject: { kind: 'claim', name: volume.claim.name },
    }));
  }
}

function subjectOf(backups: Catalog['backups'], located: LocatedBackup | undefined): BackupSubject | undefined {
  const found = backups.find((candidate) => candidate.located === located);
  return found === undefined ? undefined : { kind: 'backup', ...found };
}

/** A line that says why there is nothing. */
function note(id: string, label: string, tooltip: string): TreeNode {
  return { id, shown: { label, tooltip, icon: 'info', context: 'note' }, subject: { kind: 'group', name: id } };
}
