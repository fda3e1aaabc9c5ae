import { createCipheriv, createDecipheriv, createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { damaged, needsNewer } from './damage.ts';

export const HEADER_BYTES = 16;
export const TRAILER_BYTES = 16;
export const FORMAT_VERSION = 1;

export const OBJECT_TYPE = { config: 0, pack: 1, segment: 2, backup: 3, run: 4, source: 5, session: 6, tombstones: 7, fence: 8 } as const;
export type ObjectType = (typeof OBJECT_TYPE)[keyof typeof OBJECT_TYPE];

const MAGIC = 'DMAS';
const TRAILER_MAGIC = 'DMTR';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** What a sealed section is longer than its plaintext. */
export const SECTION_OVERHEAD = NONCE_BYTES + TAG_BYTES;

/** The frozen first 16 bytes of every object. `epoch`: of the keys its sections are sealed with. */
export function encodeHeader(type: ObjectType, epoch: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 'latin1');
  header.set([type, FORMAT_VERSION, FORMAT_VERSION, epoch], 4);
  return header;
}

/** Throws REPOSITORY_VERSION when the object is of the future, REPOSITORY_CORRUPT when it is none of ours or of another type. Returns the key epoch. */
export function checkHeader(object: Uint8Array, key: string, type: ObjectType): number {
  const header = Buffer.from(object.buffer, object.byteOffset, Math.min(object.length, HEADER_BYTES));
  if (header.length < HEADER_BYTES) throw damaged(key, 'it is shorter than a header');
  if (header.toString('latin1', 0, 4) !== MAGIC) throw damaged(key, 'it does not begin as one of our objects does');
  if (header.readUInt8(6) > FORMAT_VERSION || header.readUInt32LE(8) !== 0) throw needsNewer(key);
  if (header.readUInt8(4) !== type) throw damaged(key, `it is an object of type ${header.readUInt8(4)} where type ${type} belongs`);
  return header.readUInt8(7);
}

/** Seals and opens the sections of one object: bound to its header, its repository, its key and their number. */
export class SectionCipher {
  readonly #key: KeyObject;
  readonly #context: Buffer;
  readonly #objectKey: string;

  constructor(metaKey: KeyObject, header: Uint8Array, repositoryId: Uint8Array, objectKey: string) {
    this.#key = createSecretKey(createHmac('sha256', metaKey).update(objectKey).digest());
    this.#context = Buffer.concat([header, repositoryId, Buffer.alloc(4), Buffer.from(objectKey)]);
    this.#objectKey = objectKey;
  }

  seal(section: number, plaintext: Uint8Array, random: (n: number) => Uint8Array): Buffer {
    const nonce = random(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce).setAAD(this.#aad(section));
    return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  open(section: number, sealed: Uint8Array): Buffer {
    if (sealed.length < SECTION_OVERHEAD) throw damaged(this.#objectKey, `its section ${section} is cut short`);
    const decipher = createDecipheriv('aes-256-gcm', this.#key, sealed.subarray(0, NONCE_BYTES));
    decipher.setAAD(this.#aad(section)).setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const plaintext = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
    try {
      decipher.final();
    } catch (e) {
      throw damaged(this.#objectKey, `its section ${section} is not what was sealed`, e);
    }
    return plaintext;
  }

  #aad(section: number): Buffer {
    this.#context.writeUInt32LE(section, HEADER_BYTES + 16);
    return this.#context;
  }
}

/** Ends packs and segments: where their last section begins, and a checksum that needs no key. `crc` is of all bytes before. */
export function encodeTrailer(lastSectionLength: number, crc: number): Buffer {
  const trailer = Buffer.alloc(TRAILER_BYTES);
  trailer.writeUInt32LE(lastSectionLength, 0);
  trailer.writeUInt32LE(crc, 4);
  trailer.write(TRAILER_MAGIC, 12, 'latin1');
  return trailer;
}

/** The length of the last section, from the object's last 16 bytes; it is checked against the object's size. */
export function readTrailer(trailer: Uint8Array, objectSize: number, key: string): { lastSectionLength: number; crc: number } {
  const bytes = Buffer.from(trailer.buffer, trailer.byteOffset, trailer.length);
  if (bytes.length !== TRAILER_BYTES || bytes.toString('latin1', 12) !== TRAILER_MAGIC || bytes.readUInt32LE(8) !== 0) {
    throw damaged(key, 'it does not end with a trailer');
  }
  const lastSectionLength = bytes.readUInt32LE(0);
  if (lastSectionLength > objectSize - HEADER_BYTES - TRAILER_BYTES) throw damaged(key, 'its trailer points outside of it');
  return { lastSectionLength, crc: bytes.readUInt32LE(4) };
}

/** The last section of a whole object. */
export function lastSection(object: Uint8Array, key: string): Uint8Array {
  const end = object.length - TRAILER_BYTES;
  const { lastSectionLength } = readTrailer(object.subarray(end), object.length, key);
  return object.subarray(end - lastSectionLength, end);
}

/** Finds accidental damage of a whole object that ends with a trailer. */
export function checkCrc(object: Uint8Array, key: string): void {
  const end = Math.max(object.length - TRAILER_BYTES, 0);
  const { crc } = readTrailer(object.subarray(end), object.length, key);
  if (crc32(object.subarray(0, end)) !== crc) throw damaged(key, 'its checksum does not match');
}
