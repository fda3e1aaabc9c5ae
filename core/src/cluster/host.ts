import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter } from 'node:path';
import type { KubeconfigHost } from './kubeconfig-file.ts';

/** The environment and files of this process. */
export function localHost(): KubeconfigHost {
  return { env: process.env, homeDirectory: homedir(), pathDelimiter: delimiter, readFile };
}
