import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

const modules = join(import.meta.dirname, '../../../node_modules');

/** koffi without its sources: the files that it reads of its packages at run time, relative to node_modules. */
export async function koffiFiles(): Promise<string[]> {
  const platform = `@koromix/koffi-linux-${process.arch}`;
  return [
    ...['package.json', 'index.js', 'index.cjs', 'indirect.js', 'indirect.cjs'].map((name) => `koffi/${name}`),
    ...(await readdir(join(modules, 'koffi/src/koffi'))).filter((name) => /\.c?js$/.test(name)).map((name) => `koffi/src/koffi/${name}`),
    ...['static.js', 'static.cjs', 'trampolines.cjs'].map((name) => `koffi/src/koffi/src/${name}`),
    ...['package.json', 'index.js', `linux_${process.arch}/koffi.node`].map((name) => `${platform}/${name}`),
  ];
}
