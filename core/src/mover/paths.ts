/**
 * Paths within a volume: bytes, relative to its root, with 0x00 between the components; the root's is empty. Compared as
 * bytes they are in the order of a walk, depth first, because 0x00 sorts before every byte a name can have.
 */

export const MAX_PATH_BYTES = 1 << 20;
export const MAX_NAME_BYTES = 255;

export const ROOT: Buffer = Buffer.alloc(0);

export function joinPath(directory: Buffer, name: Buffer): Buffer {
  if (directory.length === 0) return name;
  const path = Buffer.allocUnsafe(directory.length + 1 + name.length);
  path.set(directory);
  path[directory.length] = 0;
  path.set(name, directory.length + 1);
  return path;
}

/** The directory a path lies in; the root lies in itself. */
export function parentOf(path: Buffer): Buffer {
  return path.subarray(0, Math.max(path.lastIndexOf(0), 0));
}

export function nameOf(path: Buffer): Buffer {
  return path.subarray(path.lastIndexOf(0) + 1);
}

/** Whether `path` lies below `directory`. */
export function isBelow(path: Buffer, directory: Buffer): boolean {
  if (directory.length === 0) return path.length > 0;
  return path.length > directory.length && path[directory.length] === 0 && path.subarray(0, directory.length).equals(directory);
}

/** How many leading bytes two paths share. */
export function sharedBytes(a: Buffer, b: Buffer): number {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}

/** What makes these bytes unfit to be a name in a directory, or undefined. */
export function nameFault(name: Buffer): string | undefined {
  if (name.length === 0) return 'an empty name';
  if (name.length > MAX_NAME_BYTES) return 'a name longer than 255 bytes';
  if (name.includes(0x2f) || name.includes(0)) return 'a name with a slash or NUL';
  if (name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e))) return 'a name that is "." or ".."';
  return undefined;
}

/** What makes these bytes unfit to be the path of an entry, or undefined. Names that end within the first `checked` bytes are known to be fit. */
export function pathFault(path: Buffer, checked = 0): string | undefined {
  if (path.length === 0) return undefined;
  if (path.length > MAX_PATH_BYTES) return 'a path longer than 1 MiB';
  let start = checked === 0 ? 0 : path.lastIndexOf(0, checked - 1) + 1;
  for (;;) {
    const end = path.indexOf(0, start);
    const fault = nameFault(path.subarray(start, end < 0 ? path.length : end));
    if (fault !== undefined || end < 0) return fault;
    start = end + 1;
  }
}

/** The path of `a/b` as people write it. */
export function parsePath(text: string): Buffer {
  const names = text.split('/').filter((name) => name !== '' && name !== '.');
  return Buffer.from(names.join('\0'));
}

const CONTROL = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\u2028\u2029\\]/gu;

/** For messages: components joined by `/`, with bytes that are no UTF-8 and characters that would confuse a terminal as `\xNN`. */
export function showPath(path: Buffer): string {
  if (path.length === 0) return '.';
  const parts: string[] = [];
  for (let start = 0, end = 0; end >= 0; start = end + 1) {
    end = path.indexOf(0, start);
    parts.push(showName(path.subarray(start, end < 0 ? path.length : end)));
  }
  return parts.join('/');
}

export function showName(name: Buffer): string {
  const text = name.toString('utf8');
  if (Buffer.from(text, 'utf8').equals(name)) return text.replace(CONTROL, (c) => [...Buffer.from(c)].map(hexEscape).join(''));
  return [...name].map((byte) => (byte >= 0x20 && byte < 0x7f && byte !== 0x5c ? String.fromCharCode(byte) : hexEscape(byte))).join('');
}

function hexEscape(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`;
}

/** The path that `showPath` shows so: no two paths are shown alike. */
export function parseShownPath(text: string): Buffer {
  const parts = text.split('/').filter((part) => part !== '' && part !== '.');
  return Buffer.concat(parts.flatMap((part, i) => (i === 0 ? [parseShownName(part)] : [Buffer.of(0), parseShownName(part)])));
}

function parseShownName(text: string): Buffer {
  const pieces = text.split(/(\\x[0-9a-f]{2})/);
  return Buffer.concat(pieces.map((piece) => (/^\\x[0-9a-f]{2}$/.test(piece) ? Buffer.from(piece.slice(2), 'hex') : Buffer.from(piece))));
}
