import type * as z from 'zod';
import { stringifyJson } from '../../json.ts';
import { LIMITS } from './blob.ts';
import { damaged } from './damage.ts';
import type { Random } from './derive.ts';
import type { RepositoryKeys } from './key-set.ts';
import { packPayloadSync, unpackPayloadSync } from './payload.ts';
import { checkHeader, encodeHeader, HEADER_BYTES, type ObjectType } from './sealed.ts';
import { parseStored } from './stored-json.ts';

/** An object that holds one JSON value: backup records and run records. */
export function sealRecord(keys: RepositoryKeys, type: ObjectType, key: string, value: unknown, random: Random): Buffer {
  const header = encodeHeader(type, keys.epoch);
  const packed = packPayloadSync(Buffer.from(stringifyJson(value)));
  return Buffer.concat([header, keys.sections(header, key).seal(0, packed, random)]);
}

export function openRecord<T>(keys: RepositoryKeys, type: ObjectType, key: string, object: Uint8Array, schema: z.ZodType<T>): T {
  checkHeader(object, key, type);
  if (object.length > LIMITS.json) throw damaged(key, 'it is too large');
  const packed = keys.sections(object.subarray(0, HEADER_BYTES), key).open(0, object.subarray(HEADER_BYTES));
  return parseStored(unpackPayloadSync(packed, LIMITS.json, key), schema, key);
}
