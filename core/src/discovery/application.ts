import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import type { Json } from './read.ts';

/** One way of choosing what an application begins with. */
export type Seed =
  | { readonly labelSelector: string }
  /** Any kind, as kubectl accepts it: `statefulset`, `StatefulSet`, `sts`, `statefulsets.apps`. */
  | { readonly workload: { readonly kind: string; readonly name: string } }
  | { readonly helmRelease: string }
  | { readonly wholeNamespace: true };

/**
 * What of a namespace is the application: what its seeds choose, closed over references. `include` then leaves nothing else of it,
 * `exclude` takes things out again, with what only they refer to.
 */
export type AppSelector = { readonly namespace: string; readonly include?: ObjectFilter; readonly exclude?: ObjectFilter } & (
  Seed | { readonly anyOf: readonly Seed[] }
);

/** Objects that one of the patterns names, or that have the labels. */
export interface ObjectFilter {
  /** `KIND` or `KIND/NAME`, kinds as in a seed, `*` for any run of characters of the name. */
  readonly objects?: readonly string[];
  readonly labelSelector?: string;
}

/** How one manifest names another; each is a row of the table in `edges.ts`. */
export type EdgeName =
  | 'owned-by'
  | 'mounts'
  | 'reads-env'
  | 'pulls-with'
  | 'runs-as'
  | 'claims'
  | 'governed-by'
  | 'selects'
  | 'limits'
  | 'scales'
  | 'binds'
  | 'grants'
  | 'token-of'
  | 'addresses'
  | 'routes-to'
  | 'attached-to'
  | 'terminates-tls-with'
  | 'calls'
  | 'stored-by'
  | 'has-class'
  | 'defined-by';

/** `from` is the object whose manifest names `to`. */
export interface Edge {
  readonly name: EdgeName;
  readonly from: ObjectRef;
  readonly to: ObjectRef;
}

export interface Member {
  readonly object: KubeObject;
  /** Shortest chain of edges from an object that was selected to this one, each followed in either direction; empty when this one was selected. */
  readonly because: readonly Edge[];
}

/** Belongs to the application by its references but is not captured, and why. */
export interface LeftOut {
  readonly ref: ObjectRef;
  readonly reason: string;
  /** As a member has it. */
  readonly because: readonly Edge[];
}

/** Named by members and not one of them. As one of `dependencies`: must exist where the application is to run; is checked there, not copied. */
export interface Dependency {
  readonly ref: ObjectRef;
  /** How members name it. */
  readonly neededBy: readonly Edge[];
}

export interface AppVolume {
  readonly claim: ObjectRef;
  readonly mode: 'filesystem' | 'block';
  /** What the bound volume has, or before that what the claim asks for. */
  readonly capacityBytes: number;
  /** '' for a claim without a class. */
  readonly storageClass: string;
  readonly accessModes: readonly string[];
  /** `Bound`, `Pending` or `Lost`. */
  readonly phase: string;
  readonly volumeName?: string;
  /** The CSI driver, else the volume's type (`hostPath`, `nfs`), else the class's provisioner. */
  readonly driver?: string;
  /** As the PersistentVolume has it: which nodes or zones can reach the data. */
  readonly nodeAffinity?: Json;
  /** Pods that mount it now. */
  readonly mountedBy: readonly ObjectRef[];
  /** What these pods come from, and workloads whose template mounts it though no pod runs. */
  readonly consumers: readonly ObjectRef[];
  /** Value of the label `kubernetes.io/hostname` of the node where a running pod has it mounted. */
  readonly node?: string;
  readonly security: VolumeSecurity;
  readonly scheduling: Scheduling;
}

/** Whom the consumer reads and writes the volume as, as far as its manifest says. */
export interface VolumeSecurity {
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  readonly fsGroup?: number;
  readonly fsGroupChangePolicy?: string;
  readonly supplementalGroups?: readonly number[];
  readonly seLinuxOptions?: Json;
}

/** Where the consumer may run: what a mover of the same volume needs too. Raw JSON of the pod spec. */
export interface Scheduling {
  readonly nodeSelector?: Json;
  readonly affinity?: Json;
  readonly tolerations?: readonly Json[];
}

/** An application as it was found: plain JSON, the same for the same cluster whatever order the server answers in. */
export interface Application {
  readonly name: string;
  readonly namespace: string;
  /** `id` is '' when this identity may not learn it. */
  readonly cluster: { readonly id: string; readonly context: string };
  readonly selector: AppSelector;
  /** Sorted by kind, group, namespace, name. */
  readonly members: readonly Member[];
  readonly volumes: readonly AppVolume[];
  readonly dependencies: readonly Dependency[];
  /** What members refer to and the cluster does not have; each is a finding, too. */
  readonly missing: readonly Dependency[];
  readonly leftOut: readonly LeftOut[];
  /** Among members and what was left out. */
  readonly edges: readonly Edge[];
  readonly findings: readonly Finding[];
}

/** Objects with one of these labels are never part of an application, nor what only they refer to. */
export const EXCLUDE_LABELS: Readonly<Record<string, string>> = {
  'dmaas.io/exclude': 'true',
  'velero.io/exclude-from-backup': 'true',
};
