import { containersOf } from '../discovery/pod-template.ts';
import { at, listAt, mapAt, numberAt, recordAt, stringAt, stringsAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';

export type PodSecurityLevel = 'privileged' | 'baseline' | 'restricted';

/** The level that a namespace enforces by its label; a cluster-wide default, which no client can read, is not seen. */
export function enforcedLevel(namespace: KubeObject | undefined): PodSecurityLevel {
  const label = mapAt(namespace, 'metadata', 'labels')['pod-security.kubernetes.io/enforce'];
  return label === 'baseline' || label === 'restricted' ? label : 'privileged';
}

/** Capabilities that the baseline standard lets a container add. */
const BASELINE_CAPABILITIES = new Set([
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
]);
const BASELINE_SYSCTLS = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
]);
const RESTRICTED_VOLUMES = new Set([
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
  'name',
]);

/**
 * What in a pod spec the Pod Security Standard of a level refuses, in the words of its fields; empty when it is allowed. SELinux and
 * AppArmor options, which depend on the node, are left to the server's dry run.
 */
export function podSecurityViolations(spec: Json, level: PodSecurityLevel): readonly string[] {
  if (level === 'privileged') return [];
  const found = [...baseline(spec), ...(level === 'restricted' ? restricted(spec) : [])];
  return [...new Set(found)];
}

function baseline(spec: Json): readonly string[] {
  const containers = containersOf(spec);
  const anyOf = (path: readonly string[], test: (value: unknown) => boolean): boolean => containers.some((c) => test(at(c, ...path)));
  return [
    ...['hostNetwork', 'hostPID', 'hostIPC'].filter((field) => spec[field] === true),
    ...(anyOf(['securityContext', 'privileged'], (v) => v === true) ? ['privileged'] : []),
    ...(listAt(spec, 'volumes').some((v) => v['hostPath'] !== undefined) ? ['hostPath volume'] : []),
    ...(containers.some((c) => listAt(c, 'ports').some((p) => (numberAt(p, 'hostPort') ?? 0) !== 0)) ? ['hostPort'] : []),
    ...containers.flatMap((c) =>
      added(c)
        .filter((name) => !BASELINE_CAPABILITIES.has(name))
        .map((name) => `capability ${name}`),
    ),
    ...(anyOf(['securityContext', 'procMount'], (v) => v !== undefined && v !== 'Default') ? ['procMount'] : []),
    ...(isUnconfined(spec) || containers.some(isUnconfined) ? ['seccompProfile Unconfined'] : []),
    ...listAt(spec, 'securityContext', 'sysctls').flatMap((s) => {
      const name = stringAt(s, 'name') ?? '';
      return BASELINE_SYSCTLS.has(name) ? [] : [`sysctl ${name}`];
    }),
  ];
}

function restricted(spec: Json): readonly string[] {
  const containers = containersOf(spec);
  const pod = recordAt(spec, 'securityContext');
  const everyContainer = (test: (context: Json) => boolean): boolean => containers.every((c) => test(recordAt(c, 'securityContext')));
  const profile = (context: Json): boolean => ['RuntimeDefault', 'Localhost'].includes(stringAt(context, 'seccompProfile', 'type') ?? '');
  const volumes = listAt(spec, 'volumes').flatMap((v) => Object.keys(v).filter((type) => !RESTRICTED_VOLUMES.has(type)));
  return [
    ...volumes.map((type) => `${type} volume`),
    ...(everyContainer((c) => c['allowPrivilegeEscalation'] === false) ? [] : ['allowPrivilegeEscalation not false']),
    ...(everyContainer((c) => stringsAt(c, 'capabilities', 'drop').includes('ALL')) ? [] : ['capabilities not dropped']),
    ...containers.flatMap((c) =>
      added(c)
        .filter((name) => name !== 'NET_BIND_SERVICE')
        .map((name) => `capability ${name}`),
    ),
    ...(everyContainer((c) => c['runAsNonRoot'] === true || (c['runAsNonRoot'] === undefined && pod['runAsNonRoot'] === true))
      ? []
      : ['runAsNonRoot not true']),
    ...(pod['runAsUser'] === 0 || !everyContainer((c) => c['runAsUser'] !== 0) ? ['runAsUser 0'] : []),
    ...(profile(pod) || everyContainer(profile) ? [] : ['no seccompProfile']),
  ];
}

function added(container: Json): readonly string[] {
  return stringsAt(container, 'securityContext', 'capabilities', 'add');
}

function isUnconfined(of: Json): boolean {
  return stringAt(of, 'securityContext', 'seccompProfile', 'type') === 'Unconfined';
}
