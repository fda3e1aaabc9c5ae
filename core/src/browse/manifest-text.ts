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

/**
 * A manifest for people, as YAML, without the server's book of who set which field, as kubectl shows it. In place of what a Secret holds stand its length and a mark that differs when the
 * value does.
 */
export function manifestText(object: KubeObject): string {
  const { managedFields: _, ...metadata } = object.metadata;
  return toYaml(hideSecrets({ ...object, metadata }));
}

function hideSecrets(object: KubeObject): KubeObject {
  if (object.kind !== 'Secret') return object;
  const hide = (values: unknown, encoding: BufferEncoding): unknown =>
    isRecord(values) ? Object.fromEntries(Object.entries(values).map(([key, value]) => [key, hidden(String(value), encoding)])) : values;
  const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration'; // holds a second copy
  const { annotations } = object.metadata;
  const metadata =
    annotations?.[lastApplied] === undefined
      ? object.metadata
      : { ...object.metadata, annotations: { ...annotations, [lastApplied]: hidden(annotations[lastApplied], 'utf8') } };
  return {
    ...object,
    metadata,
    ...(object['data'] === undefined ? {} : { data: hide(object['data'], 'base64') }),
    ...(object['stringData'] === undefined ? {} : { stringData: hide(object['stringData'], 'utf8') }),
  };
}

function hidden(text: string, encoding: BufferEncoding): string {
  const bytes = Buffer.from(text, encoding);
  const mark = createHmac('sha256', MARK_KEY).update(bytes).digest('hex').slice(0, 8);
  return `(hidden: ${String(bytes.length)} bytes, mark ${mark})`;
}
