import type * as z from 'zod';
import { parseJson } from '../../json.ts';
import { damaged } from './damage.ts';

/** JSON that was stored under `key`; REPOSITORY_CORRUPT when it is none, or not as `schema` says. */
export function parseStored<T>(json: Uint8Array, schema: z.ZodType<T>, key: string): T {
  let value: unknown;
  try {
    value = parseJson(Buffer.from(json.buffer, json.byteOffset, json.length).toString());
  } catch (e) {
    throw damaged(key, 'it is no JSON', e);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw damaged(key, 'its JSON is not as the format says', parsed.error);
  return parsed.data;
}
