import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Header, pack as makePack, type Pack } from 'tar-stream';
import type { Layer } from './layer.ts';

/** How a container of an image runs unless the pod says otherwise. */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Numeric `uid:gid`, as pods with runAsNonRoot ask for. */
  readonly user: string;
  readonly workingDir?: string;
}

interface Blob {
  readonly bytes: Buffer;
  readonly digest: string;
}

export interface Image {
  /** With tag. */
  readonly name: string;
  /** Of the image's manifest: the same for the same content, whatever the name. */
  readonly digest: string;
  readonly layers: readonly Layer[];
  readonly config: Blob;
  readonly manifest: Blob;
}

const MEDIA = 'application/vnd.oci.image';

export const imageArchitecture = process.arch === 'x64' ? 'amd64' : process.arch;

function jsonBlob(value: unknown): Blob {
  const bytes = Buffer.from(JSON.stringify(value));
  return { bytes, digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}` };
}

/**
 * Puts layers, the lowest first, together as an image (OCI image specification 1.1). A name may be made from the digest,
 * for a tag that changes with the content.
 */
export function makeImage(name: string | ((digest: string) => string), layers: readonly Layer[], config: ImageConfig): Image {
  const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  const configBlob = jsonBlob({
    architecture: imageArchitecture,
    os: 'linux',
    config: {
      Entrypoint: config.entrypoint,
      Env: Object.entries({ PATH: path, ...config.env }).map(([key, value]) => `${key}=${value}`),
      User: config.user,
      WorkingDir: config.workingDir ?? '/',
    },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.digest) },
  });
  const manifest = jsonBlob({
    schemaVersion: 2,
    mediaType: `${MEDIA}.manifest.v1+json`,
    config: { mediaType: `${MEDIA}.config.v1+json`, digest: configBlob.digest, size: configBlob.bytes.length },
    layers: layers.map((layer) => ({ mediaType: `${MEDIA}.layer.v1.tar`, digest: layer.digest, size: layer.size })),
  });
  return { name: typeof name === 'string' ? name : name(manifest.digest), digest: manifest.digest, layers, config: configBlob, manifest };
}

async function writeEntries(image: Image, pack: Pack): Promise<void> {
  const header = (name: string): Pick<Header, 'name'> & Partial<Header> => ({ name, mtime: new Date(0), mode: 0o644, uid: 0, gid: 0 });
  const blobName = (digest: string): string => `blobs/${digest.replace(':', '/')}`;
  const index = jsonBlob({
    schemaVersion: 2,
    mediaType: `${MEDIA}.index.v1+json`,
    manifests: [
      {
        mediaType: `${MEDIA}.manifest.v1+json`,
        digest: image.digest,
        size: image.manifest.bytes.length,
        platform: { architecture: imageArchitecture, os: 'linux' },
        // The first is what containerd goes by, the second what the specification names.
        annotations: { 'io.containerd.image.name': image.name, 'org.opencontainers.image.ref.name': image.name },
      },
    ],
  });
  pack.entry(header('oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  pack.entry(header('index.json'), index.bytes);
  for (const blob of [image.manifest, image.config]) pack.entry(header(blobName(blob.digest)), blob.bytes);
  const written = new Set<string>();
  for (const layer of image.layers) {
    if (written.has(layer.digest)) continue;
    written.add(layer.digest);
    await pipeline(createReadStream(layer.file), pack.entry({ ...header(blobName(layer.digest)), size: layer.size }));
  }
  pack.finalize();
}

/** The image as one archive (an OCI image layout in a tar), as `ctr images import` and `docker load` take it. */
export function imageArchive(image: Image): Readable {
  const pack = makePack();
  writeEntries(image, pack).catch((error: unknown) => {
    pack.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  return pack as unknown as Readable;
}

/** Writes the image's archive to a file, which appears whole or not at all. */
export async function saveImage(image: Image, file: string): Promise<void> {
  await pipeline(imageArchive(image), createWriteStream(`${file}.new`));
  await rename(`${file}.new`, file);
}
