import {
  Disposable,
  EventEmitter,
  FilePermission,
  FileSystemError,
  FileType,
  Uri,
  type FileChangeEvent,
  type FileStat,
  type FileSystemProvider,
} from 'vscode';
import type { FileInfo, KubeObject, OpenBackup } from '@dmaas/core';
import type { Catalog } from '../catalog.ts';
import { loadCore } from '../core.ts';
import type { OpenBackups } from '../open-backups.ts';
import { messageOf, sentence } from '../reporter.ts';
import type { Session } from '../session.ts';
import { settings } from '../settings.ts';
import { addressOf, placeOf, type Address } from './address.ts';

export const SCHEME = 'dmaas';

export function uriOf(address: Address): Uri {
  return Uri.from({ scheme: SCHEME, ...placeOf(address) });
}

const TYPES: Partial<Record<FileInfo['type'], FileType>> = {
  file: FileType.File,
  directory: FileType.Directory,
  symlink: FileType.SymbolicLink,
};

/** What backups hold, as files that cannot be written. A file is read from the chunks that it needs, when it is opened. */
export class BackupFileSystem implements FileSystemProvider {
  readonly #session: Session;
  readonly #catalog: Catalog;
  readonly #open: OpenBackups;
  readonly #changed = new EventEmitter<FileChangeEvent[]>();
  /** What is in a backup stays as it is. */
  readonly onDidChangeFile = this.#changed.event;
  /** Texts whose size was asked for, until they are read. What runs live is asked for anew each time. */
  readonly #texts = new Map<string, Promise<Uint8Array>>();

  constructor(session: Session, catalog: Catalog, open: OpenBackups) {
    this.#session = session;
    this.#catalog = catalog;
    this.#open = open;
  }

  watch(): Disposable {
    return new Disposable(() => undefined);
  }

  async stat(uri: Uri): Promise<FileStat> {
    return this.#answer(uri, async (address) => {
      const backup = await this.#backup(address);
      const ctime = Date.parse(backup.backup.createdAt);
      if (address.view !== 'file') {
        const { length: size } = await this.#text(uri, address, backup);
        return {
          type: FileType.File,
          ctime,
          mtime: address.view === 'live' ? Date.now() : ctime,
          size,
          permissions: FilePermission.Readonly,
        };
      }
      const file = await fileAt(backup, address, uri);
      return {
        type: TYPES[file.type] ?? FileType.Unknown,
        ctime,
        mtime: file.mtimeMs,
        size: file.sizeBytes,
        permissions: FilePermission.Readonly,
      };
    });
  }

  async readFile(uri: Uri): Promise<Uint8Array> {
    return this.#answer(uri, async (address) => {
      const backup = await this.#backup(address);
      if (address.view !== 'file') {
        const text = await this.#text(uri, address, backup);
        this.#texts.delete(uri.toString());
        return text;
      }
      const { sizeBytes, name } = await fileAt(backup, address, uri);
      if (sizeBytes > settings.maxFileBytes) {
        const { formatBytes } = await loadCore();
        throw FileSystemError.Unavailable(
          `${name} has ${formatBytes(sizeBytes)}; files over ${formatBytes(settings.maxFileBytes)} are saved, not opened`,
        );
      }
      const parts: Uint8Array[] = [];
      for await (const part of backup.read(address.claim, address.path)) parts.push(part);
      return Buffer.concat(parts);
    });
  }

  async readDirectory(uri: Uri): Promise<[string, FileType][]> {
    return this.#answer(uri, async (address) => {
      if (address.view !== 'file') throw FileSystemError.FileNotADirectory(uri);
      const entries: [string, FileType][] = [];
      for await (const { name, type } of (await this.#backup(address)).list(address.claim, address.path))
        entries.push([name, TYPES[type] ?? FileType.Unknown]);
      return entries;
    });
  }

  createDirectory(uri: Uri): never {
    throw FileSystemError.NoPermissions(uri);
  }

  writeFile(uri: Uri): never {
    throw FileSystemError.NoPermissions(uri);
  }

  delete(uri: Uri): never {
    throw FileSystemError.NoPermissions(uri);
  }

  rename(uri: Uri): never {
    throw FileSystemError.NoPermissions(uri);
  }

  async #answer<T>(uri: Uri, answer: (address: Address) => Promise<T>): Promise<T> {
    const address = addressOf(uri);
    // Editors ask for settings in the folders around a file; there are none.
    if (address === undefined) throw FileSystemError.FileNotFound(uri);
    try {
      return await answer(address);
    } catch (e) {
      throw e instanceof FileSystemError ? e : FileSystemError.Unavailable(sentence(messageOf(e)));
    }
  }

  async #backup({ location, backup }: Address): Promise<OpenBackup> {
    return this.#open.get({ kind: 'backup', ...(await this.#catalog.find(location, backup)) });
  }

  #text(uri: Uri, address: Exclude<Address, { view: 'file' }>, backup: OpenBackup): Promise<Uint8Array> {
    if (address.view === 'live') return this.#makeText(uri, address, backup);
    const key = uri.toString();
    const making = this.#texts.get(key) ?? this.#makeText(uri, address, backup);
    this.#texts.set(key, making);
    making.catch(() => this.#texts.delete(key));
    return making;
  }

  async #makeText(uri: Uri, address: Exclude<Address, { view: 'file' }>, backup: OpenBackup): Promise<Uint8Array> {
    const { manifestText } = await loadCore();
    const object = await this.#object(address, backup);
    if (object === undefined) throw FileSystemError.FileNotFound(uri);
    return Buffer.from(manifestText(object));
  }

  async #object(address: Exclude<Address, { view: 'file' }>, backup: OpenBackup): Promise<KubeObject | undefined> {
    const { comparable, liveComparable } = await loadCore();
    if (address.view === 'live') return liveComparable(await this.#session.cluster(address.context), address.ref);
    const object = await backup.manifest(address.ref);
    return object === undefined || address.view === 'manifest' ? object : comparable(object);
  }
}

async function fileAt(backup: OpenBackup, { claim, path }: Extract<Address, { view: 'file' }>, uri: Uri): Promise<FileInfo> {
  const file = await backup.stat(claim, path);
  if (file === undefined) throw FileSystemError.FileNotFound(uri);
  return file;
}
