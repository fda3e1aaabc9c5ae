import { groupOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { at, listAt, mapAt, recordAt, stringAt } from './read.ts';
import type { Json } from './read.ts';

/** `Kind` for the core group, else `Kind.group`: how rules name kinds. */
export function kindId(of: { readonly apiVersion: string; readonly kind: string }): string {
  const group = groupOf(of.apiVersion);
  return group === '' ? of.kind : `${of.kind}.${group}`;
}

const TEMPLATE_PATHS: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  'CronJob.batch': ['spec', 'jobTemplate', 'spec', 'template'],
};

export interface PodTemplate {
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: Json;
}

/**
 * The pod an object is, or makes. Known kinds say where; any other, custom resources included, when its `spec.template` holds
 * containers.
 */
export function podTemplateOf(object: KubeObject): PodTemplate | undefined {
  const template = at(object, ...(TEMPLATE_PATHS[kindId(object)] ?? ['spec', 'template']));
  const spec = recordAt(template, 'spec');
  if (!Array.isArray(spec['containers'])) return undefined;
  return { labels: mapAt(template, 'metadata', 'labels'), spec };
}

/** Containers of all sorts. */
export function containersOf(spec: Json): readonly Json[] {
  return ['initContainers', 'containers', 'ephemeralContainers'].flatMap((field) => listAt(spec, field));
}

/** Names of the claims that a pod mounts, those of generic ephemeral volumes not included. */
export function claimNamesOf(spec: Json): readonly string[] {
  return listAt(spec, 'volumes').flatMap((volume) => stringAt(volume, 'persistentVolumeClaim', 'claimName') ?? []);
}

/** `<template>-<set>-`: what the names of a StatefulSet's claims start with; the pod's ordinal follows. */
export function claimPrefixesOf(statefulSet: KubeObject): readonly string[] {
  return listAt(statefulSet, 'spec', 'volumeClaimTemplates').flatMap((template) => {
    const name = stringAt(template, 'metadata', 'name');
    return name === undefined ? [] : [`${name}-${statefulSet.metadata.name}-`];
  });
}

/** The object in control of this one, which made it and will make it again. */
export function controllerOf(object: KubeObject): ObjectRef | undefined {
  const owner = object.metadata.ownerReferences?.find((o) => o.controller === true);
  return owner && { apiVersion: owner.apiVersion, kind: owner.kind, name: owner.name };
}
