import { readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { rootCertificates } from 'node:tls';
import { run, SetupError } from '../setup/command.ts';
import { koffiFiles } from '../tasks/koffi-files.ts';
import { type Entry, type Layer, makeLayer } from './layer.ts';

const root = resolve(import.meta.dirname, '../../..');

/** The workspace's own Node, the one the tests run on. */
export const nodeProgram = join(root, 'node_modules/node/bin/node');
export const nodeInImage = '/usr/local/bin/node';

export const file = (content: Uint8Array | string, mode?: number): Entry => ({
  type: 'file',
  content: typeof content === 'string' ? Buffer.from(content) : content,
  ...(mode === undefined ? {} : { mode }),
});

export const copyOf = (path: string, mode?: number): Entry => ({
  type: 'file',
  content: { file: path },
  ...(mode === undefined ? {} : { mode }),
});

/** The shared libraries that a program loads, each at the path where the loader looks for it. */
async function librariesOf(...programs: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (const program of programs) {
    const output = await run('ldd', [program]);
    const missing = /(\S+) => not found/.exec(output);
    if (missing !== null)
      throw new SetupError(`${program} needs ${missing[1]!}, which this machine lacks`, 'sudo apt-get install libstdc++6 libgcc-s1');
    for (const match of output.matchAll(/(?<=^|\s)(\/\S+)/g)) found.add(match[1]!);
  }
  // Before glibc 2.34 host names were looked up by libraries that no program names.
  const folder = dirname([...found].find((path) => path.endsWith('/libc.so.6'))!);
  for (const name of await readdir(folder)) if (/^(libnss_(files|dns)|libresolv)\.so\.2$/.test(name)) found.add(join(folder, name));
  return [...found];
}

/** Where Node looks for koffi from a program in /app. */
async function koffi(): Promise<Map<string, Entry>> {
  const paths = await koffiFiles();
  return new Map(paths.map((path) => [`/app/node_modules/${path}`, copyOf(join(root, 'node_modules', path))]));
}

/**
 * Everything below a program of ours: Node with its libraries, koffi, the authorities that Node trusts, for programs that look for
 * them in the usual place, and what lets any user id run it.
 */
export async function nodeLayer(): Promise<Layer> {
  const addon = await koffi();
  const native = [...addon.keys()].find((path) => path.endsWith('.node'))!.replace('/app/', `${root}/`);
  const libraries = await librariesOf(nodeProgram, native);
  return makeLayer(
    'node',
    new Map<string, Entry>([
      [nodeInImage, copyOf(nodeProgram, 0o755)],
      ...libraries.map((path): [string, Entry] => [path, copyOf(path, 0o755)]),
      ...addon,
      ['/etc/passwd', file('root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n')],
      ['/etc/group', file('root:x:0:\nnonroot:x:65532:\n')],
      // Host names are looked up in /etc/hosts and the cluster's DNS; both files come from the kubelet.
      ['/etc/nsswitch.conf', file('hosts: files dns\n')],
      ['/etc/ssl/certs/ca-certificates.crt', file(`${rootCertificates.join('\n')}\n`)],
      ['/tmp', { type: 'directory', mode: 0o1777 }],
    ]),
  );
}
