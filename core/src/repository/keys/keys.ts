import { createHash, createSecretKey, randomBytes } from 'node:crypto';
import * as z from 'zod';
import { DmaasError, type ErrorCode } from '../../errors.ts';
import { LIMITS } from '../format/blob.ts';
import { damaged } from '../format/damage.ts';
import { hkdf, hmac, KEY_BYTES, type Random } from '../format/derive.ts';
import { checkHeader, encodeHeader, HEADER_BYTES, OBJECT_TYPE, SectionCipher } from '../format/sealed.ts';
import { parseStored } from '../format/stored-json.ts';

const KEY_PREFIX = 'dmaas-key-1-';
const CHECKSUM_BYTES = 4;
const DIRECTORY_BYTES = 16;

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

export function newKey(random: Random = randomBytes): Uint8Array {
  return random(KEY_BYTES);
}

/** The text form of a key, for key files, Secrets and prompts. */
export function formatKey(key: Uint8Array): string {
  return formatSecret(KEY_PREFIX, key);
}

/** 32 bytes as text that is told from others by its beginning, and from a mistyped one by its checksum. */
export function formatSecret(prefix: string, bytes: Uint8Array): string {
  return prefix + base32(Buffer.concat([bytes, checksum(bytes)]));
}

/** Reads the text form; space around it is ignored. Throws REPOSITORY_KEY that tells a mistyped key from something that is no key. */
export function parseKey(text: string): Uint8Array {
  return parseSecret(KEY_PREFIX, text);
}

/** The same for any beginning. */
export function parseSecret(prefix: string, text: string): Uint8Array {
  const trimmed = text.trim().toLowerCase();
  if (!trimmed.startsWith(prefix)) {
    throw new DmaasError('REPOSITORY_KEY', `this is no DMaaS key: a key begins with ${prefix}`);
  }
  const bytes = fromBase32(trimmed.slice(prefix.length));
  const key = bytes?.subarray(0, KEY_BYTES);
  if (key === undefined || bytes?.length !== KEY_BYTES + CHECKSUM_BYTES || !checksum(key).equals(bytes.subarray(KEY_BYTES))) {
    throw new DmaasError('REPOSITORY_KEY', 'the key is mistyped or cut short: its checksum does not match', {
      hint: 'copy the whole line from where the key is kept',
    });
  }
  return key;
}

/** What a key's text is parsed to; the error about it says where the text was, and is USAGE for a key that opens nothing yet. */
export function keyFrom<T>(place: string, parse: () => T, code: ErrorCode = 'REPOSITORY_KEY'): T {
  try {
    return parse();
  } catch (cause) {
    if (!DmaasError.is(cause, 'REPOSITORY_KEY')) throw cause;
    throw new DmaasError(code, `${cause.message} (${place})`, { cause, ...(cause.hint !== undefined && { hint: cause.hint }) });
  }
}

/** Whose backups one repository of a location holds. */
export interface RepositoryScope {
  /** UID of the namespace kube-system. */
  readonly clusterId: string;
  readonly namespace: string;
}

export interface ScopeKeys {
  /** The repository's directory under the location's prefix. */
  readonly directory: string;
  /** Opens that repository and no other; the location key cannot be computed from it. */
  readonly unlock: Uint8Array;
}

export function deriveScope(locationKey: Uint8Array, scope: RepositoryScope): ScopeKeys {
  const bytes = Buffer.from(`${scope.clusterId}\0${scope.namespace}`);
  return {
    directory: base32(hmac(hkdf(locationKey, 'dmaas/v1/directory'), bytes).subarray(0, DIRECTORY_BYTES)),
    unlock: hkdf(locationKey, Buffer.concat([Buffer.from('dmaas/v1/unlock\0'), bytes])),
  };
}

const sourceSchema = z.looseObject({ clusterId: z.string(), namespace: z.string(), context: z.string().exactOptional() });

/** The content of the object `source`. `context` is what the user called the cluster. */
export interface RepositorySource extends RepositoryScope {
  readonly context?: string;
}

/** The object `source`, which says to whoever holds the location key whose backups a directory holds. */
export function sealSource(locationKey: Uint8Array, source: RepositorySource, random: Random = randomBytes): Uint8Array {
  const { directory } = deriveScope(locationKey, source);
  const header = encodeHeader(OBJECT_TYPE.source, 0);
  const plain = Buffer.from(JSON.stringify(source));
  return Buffer.concat([header, sourceCipher(locationKey, directory, header).seal(0, plain, random)]);
}

/** Opens the object `source` of a directory; undefined when another location key sealed it (or it is damaged, which looks the same). */
export function openSource(locationKey: Uint8Array, directory: string, object: Uint8Array): RepositorySource | undefined {
  const key = `${directory}/source`;
  if (object.length > LIMITS.config) throw damaged(key, 'it is too large');
  checkHeader(object, key, OBJECT_TYPE.source);
  let plain: Buffer;
  try {
    plain = sourceCipher(locationKey, directory, object.subarray(0, HEADER_BYTES)).open(0, object.subarray(HEADER_BYTES));
  } catch (e) {
    if (DmaasError.is(e, 'REPOSITORY_CORRUPT')) return undefined;
    throw e;
  }
  const source = parseStored(plain, sourceSchema, key);
  if (deriveScope(locationKey, source).directory !== directory) throw damaged(key, 'it names another directory');
  return source;
}

function sourceCipher(locationKey: Uint8Array, directory: string, header: Uint8Array): SectionCipher {
  return new SectionCipher(createSecretKey(hkdf(locationKey, 'dmaas/v1/source')), header, new Uint8Array(16), `${directory}/source`);
}

function checksum(key: Uint8Array): Buffer {
  return createHash('sha256').update(key).digest().subarray(0, CHECKSUM_BYTES);
}

/** RFC 4648, lower case, without padding. */
function base32(bytes: Uint8Array): string {
  let text = '';
  let held = 0;
  let bits = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += BASE32.charAt((held >> (bits - 5)) & 31);
    held &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + BASE32.charAt((held << (5 - bits)) & 31);
}

function fromBase32(text: string): Buffer | undefined {
  const bytes: number[] = [];
  let held = 0;
  let bits = 0;
  for (const letter of text) {
    const value = BASE32.indexOf(letter);
    if (value < 0) return undefined;
    held = (held << 5) | value;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push(held >> bits);
      held &= (1 << bits) - 1;
    }
  }
  // Less than a letter is left over and carries no data: anything else is a typing error.
  return held === 0 && bits < 5 ? Buffer.from(bytes) : undefined;
}
