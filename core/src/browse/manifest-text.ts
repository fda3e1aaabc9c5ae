import { createHmac, randomBytes } from 'node:crypto';
import { stringify } from 'yaml';
import type { KubeObject } from '../model.ts';
import { isRecord } from '../restore/rewrite.ts';

/** Tells equal values from different ones without saying what they are; of this process only, so that nobody can try out values elsewhere. */
const MARK_KEY = randomBytes(32);

/** As YAML, in the order in which `kubectl get -o yaml` writes it. Integers of 64 bits keep their digits. */
export function toYaml(value: unknown): string {
  return stringify(value, { version: '1.2', lineWidth: 0, sortMapEntries: true, aliasDuplicateObjects: false });
}

/** A manifest for people, as YAML. In place of what a Secret holds stand its length and a mark that differs when the value does. */
export function manifestText(object: KubeObject): string {
  return toYaml(hideSecrets(object));
}

function hideSecrets(object: KubeObject): KubeObject {
  if (object.kind !== 'Secret') return object;
  const hide = (values: unknown): unknown =>
    isRecord(values) ? Object.fromEntries(Object.entries(values).map(([key, value]) => [key, hidden(value)])) : values;
  const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration'; // holds a second copy
  const { annotations } = object.metadata;
  const metadata =
    annotations?.[lastApplied] === undefined
      ? object.metadata
      : { ...object.metadata, annotations: { ...annotations, [lastApplied]: hidden(annotations[lastApplied]) } };
  return {
    ...object,
    metadata,
    ...(object['data'] === undefined ? {} : { data: hide(object['data']) }),
    ...(object['stringData'] === undefined ? {} : { stringData: hide(object['stringData']) }),
  };
}

function hidden(value: unknown): string {
  const text = String(value);
  const mark = createHmac('sha256', MARK_KEY).update(text).digest('hex').slice(0, 8);
  return `(hidden: ${String(Buffer.from(text, 'base64').length)} bytes, mark ${mark})`;
}
