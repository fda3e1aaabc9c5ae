import { kindId } from '../discovery/pod-template.ts';
import { parseQuantity } from '../discovery/quantity.ts';
import { listAt, mapAt, stringAt, stringsAt } from '../discovery/read.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import { formatBytes } from './bytes.ts';
import { listed, onTarget } from './hints.ts';
import { storageClassOf } from './mapping.ts';
import type { TargetState } from './model.ts';

/** Whether the target can make the volumes that the objects ask for. */
export function storageFindings(objects: readonly KubeObject[], target: TargetState): readonly Finding[] {
  if (target.unreadable.includes('StorageClass.storage.k8s.io')) return [];
  return [...missingClasses(objects, target), ...unsupportedModes(objects, target), ...capacityShort(objects, target)];
}

/** Claims and claim templates, with what asks for them. */
function claimsIn(objects: readonly KubeObject[]): readonly { readonly claim: unknown; readonly ref: ObjectRef; readonly name: string }[] {
  return objects.flatMap((o) => {
    if (kindId(o) === 'PersistentVolumeClaim') return [{ claim: o, ref: refOf(o), name: `claim ${o.metadata.name}` }];
    if (kindId(o) !== 'StatefulSet.apps') return [];
    return listAt(o, 'spec', 'volumeClaimTemplates').map((claim) => ({
      claim,
      ref: refOf(o),
      name: `claim template ${stringAt(claim, 'metadata', 'name') ?? ''} of ${refName(refOf(o))}`,
    }));
  });
}

/** Where drivers publish how much they have left: whether the largest claim of a class finds room anywhere. */
function capacityShort(objects: readonly KubeObject[], target: TargetState): readonly Finding[] {
  return claimsIn(objects).flatMap(({ claim, ref, name }): Finding[] => {
    const storageClass = storageClassOf(claim);
    const published = (target.capacities ?? []).filter((c) => c['storageClassName'] === storageClass);
    const room = published.map((c) => parseQuantity(stringAt(c, 'maximumVolumeSize') ?? stringAt(c, 'capacity') ?? '0') ?? 0);
    const size = parseQuantity(mapAt(claim, 'spec', 'resources', 'requests')['storage'] ?? '') ?? 0;
    const most = Math.max(...room);
    if (room.length === 0 || size <= most) return [];
    const message = `${name} asks for ${formatBytes(size)}, and storage class ${storageClass} has room for ${formatBytes(most)}`;
    return [
      {
        level: 'blocker',
        code: 'capacity-short',
        message,
        ref,
        hint: `--map-storage-class ${storageClass}=NAME, or --map-size ${ref.name}=SIZE`,
      },
    ];
  });
}

function isDefaultClass(storageClass: KubeObject): boolean {
  return mapAt(storageClass, 'metadata', 'annotations')['storageclass.kubernetes.io/is-default-class'] === 'true';
}

/** Names of the storage classes that make volumes by themselves, the default one first. */
export function usableClasses({ storageClasses }: Pick<TargetState, 'storageClasses'>): readonly string[] {
  return storageClasses
    .filter((c) => stringAt(c, 'provisioner') !== 'kubernetes.io/no-provisioner')
    .toSorted((a, b) => Number(isDefaultClass(b)) - Number(isDefaultClass(a)) || (a.metadata.name < b.metadata.name ? -1 : 1))
    .map((c) => c.metadata.name);
}

function missingClasses(objects: readonly KubeObject[], target: TargetState): readonly Finding[] {
  const candidates = usableClasses(target);
  const wanted = new Map<string, string[]>();
  for (const { claim, name } of claimsIn(objects)) {
    const storageClass = storageClassOf(claim);
    wanted.set(storageClass, [...(wanted.get(storageClass) ?? []), name]);
  }
  return [...wanted].flatMap(([name, by]): Finding[] => {
    const found = target.storageClasses.find((c) => c.metadata.name === name);
    if (found !== undefined && stringAt(found, 'provisioner') !== 'kubernetes.io/no-provisioner') return [];
    const fact =
      found !== undefined
        ? `storage class ${name} makes no volumes by itself`
        : name === ''
          ? 'no storage class is named'
          : `storage class ${name} does not exist on ${target.context}`;
    return [
      {
        level: 'blocker',
        code: found === undefined ? 'storage-class-missing' : 'storage-class-static',
        message: `${fact}, and ${listed(by)} would stay Pending; candidates: ${candidates.join(', ') || 'none'}`,
        hint: candidates[0] === undefined ? onTarget('kubectl get storageclasses', target) : `--map-storage-class ${name}=${candidates[0]}`,
      },
    ];
  });
}

/** Provisioners that make directories, or shares of a file server: they have no block devices. */
const NO_BLOCK =
  /^(rancher\.io\/local-path|k8s\.io\/minikube-hostpath|microk8s\.io\/hostpath|nfs\.csi\.k8s\.io|smb\.csi\.k8s\.io|efs\.csi\.aws\.com|file\.csi\.azure\.com|filestore\.csi\.storage\.gke\.io|.*\.cephfs\.csi\.ceph\.com|cluster\.local\/.*nfs.*|juicefs\.csi\..*)$/;
/** Provisioners whose file systems one node mounts at a time. */
const ONE_NODE =
  /^(ebs\.csi\.aws\.com|pd\.csi\.storage\.gke\.io|disk\.csi\.azure\.com|cinder\.csi\.openstack\.org|csi\.vsphere\.vmware\.com|.*\.rbd\.csi\.ceph\.com|dobs\.csi\.digitalocean\.com|csi\.hetzner\.cloud|driver\.longhorn\.io\/single)$/;

function unsupportedModes(objects: readonly KubeObject[], target: TargetState): readonly Finding[] {
  return claimsIn(objects).flatMap(({ claim, ref, name }): Finding[] => {
    const storageClass = storageClassOf(claim);
    const provisioner =
      stringAt(
        target.storageClasses.find((c) => c.metadata.name === storageClass),
        'provisioner',
      ) ?? '';
    const modes = stringsAt(claim, 'spec', 'accessModes');
    const isBlock = stringAt(claim, 'spec', 'volumeMode') === 'Block';
    const hint = `--map-storage-class ${storageClass}=NAME`;
    if (isBlock && NO_BLOCK.test(provisioner)) {
      return [
        {
          level: 'blocker',
          code: 'block-not-supported',
          message: `${name} is a block volume, and storage class ${storageClass} has file systems only`,
          ref,
          hint,
        },
      ];
    }
    if (!isBlock && modes.includes('ReadWriteMany') && ONE_NODE.test(provisioner)) {
      return [
        {
          level: 'blocker',
          code: 'access-mode-not-supported',
          message: `${name} is ReadWriteMany, and volumes of storage class ${storageClass} are mounted by one node at a time`,
          ref,
          hint,
        },
      ];
    }
    if (modes.length > 0 && modes.every((mode) => mode === 'ReadOnlyMany')) {
      return [
        {
          level: 'blocker',
          code: 'claim-read-only',
          message: `${name} is ReadOnlyMany, so no mover can write to it`,
          ref,
          hint: `--exclude pvc/${ref.name}`,
        },
      ];
    }
    return [];
  });
}
