import { isAbsolute, join } from 'node:path';
import {
  accessFromDocument,
  connectCluster,
  DmaasError,
  getLocationAccess,
  openStore,
  parseLocationDocument,
  shellWord,
  parseStoreUrl,
  PATIENT,
  type Cluster,
  type ClusterOptions,
  type LocationAccess,
  type LocationDocument,
  type MoverOptions,
  type OpenDeps,
  type Places,
  type RepositoryTarget,
  type RunOptions,
  type StoreConfig,
} from '@dmaas/core';
import type { Args } from './args.ts';
import { GLOBAL_FLAGS } from './global-flags.ts';
import { credentialFromEnvironment } from './credential-env.ts';
import { withFlags } from './next-command.ts';
import { readTextFile } from './read-text-file.ts';
import { showProgress, type Progress } from './progress.ts';

const DEFAULT_MAX_MOVERS = 4;

export interface Streams {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * What commands share in one call: streams, the clusters that flags name, prompts and progress. Connections are made when first
 * asked for and closed at the end.
 */
export class Session {
  readonly streams: Streams;
  readonly signal: AbortSignal;
  readonly args: Args;
  private readonly clusters = new Map<string, Promise<Cluster>>();

  constructor(streams: Streams, signal: AbortSignal, args: Args) {
    this.streams = streams;
    this.signal = signal;
    this.args = args;
  }

  now(): Date {
    return new Date();
  }

  /** The cluster of the kubeconfig's current context, or of `context`. */
  cluster(context?: string): Promise<Cluster> {
    const key = context ?? '';
    let cluster = this.clusters.get(key);
    if (cluster === undefined) {
      cluster = connectCluster(this.clusterOptions(context), { env: this.streams.env, isInteractive: this.interactive });
      this.clusters.set(key, cluster);
    }
    return cluster;
  }

  /** For calls whose progress nobody watches. */
  get quiet(): RunOptions {
    return { emit: () => undefined, signal: this.signal };
  }

  /** The namespace that `-n` or the context names. */
  async namespace(): Promise<string> {
    return this.args.string('namespace') ?? (await this.cluster()).namespace;
  }

  get homeNamespace(): string {
    return this.args.string('home-namespace') ?? 'dmaas';
  }

  /** Where credentials and locations are looked for. */
  async places(): Promise<Places> {
    return { namespace: await this.namespace(), homeNamespace: this.homeNamespace };
  }

  /** How stores are opened; core asks for it where it needs one. */
  get stores(): OpenDeps {
    return { ...this.cache, openStore: (config) => openStore(config, { proxyEnv: this.streams.env }) };
  }

  /** For transfers that nobody watches: they outlast a restart of the store. */
  get patientStores(): OpenDeps {
    return { ...this.cache, openStore: (config) => openStore(config, { proxyEnv: this.streams.env, retry: PATIENT }) };
  }

  /** The user's own; without one, nothing outlives the call. A relative XDG_CACHE_HOME is to be ignored, says its specification. */
  private get cache(): Pick<OpenDeps, 'cache'> {
    const { XDG_CACHE_HOME: chosen = '', HOME: home = '' } = this.streams.env;
    const base = isAbsolute(chosen) ? chosen : isAbsolute(home) ? join(home, '.cache') : undefined;
    return base === undefined ? {} : { cache: { directory: join(base, 'dmaas') } };
  }

  /** The repository of `--repository` and `--key-file`, which needs no cluster. */
  async repositoryTarget(): Promise<RepositoryTarget> {
    const url = this.args.need('repository', '--repository s3://BUCKET[/PREFIX], gs://BUCKET[/PREFIX] or file:///DIRECTORY');
    const passphrase = await this.passphrase('passphrase-file', 'passphrase of the repository');
    const keyFile = passphrase === undefined ? this.args.need('key-file', '--key-file FILE; "repository init" writes it') : '';
    return { store: await this.store(url), keyFile, ...(passphrase !== undefined && { passphrase }) };
  }

  /** The store of a URL, as the flags of `STORE_FLAGS` say. */
  async store(url: string): Promise<StoreConfig> {
    const caFile = this.args.string('ca-file');
    const flags = defined({
      endpoint: this.args.string('endpoint'),
      region: this.args.string('region'),
      pathStyle: this.args.bool('path-style') ? true : undefined,
      caPem: caFile === undefined ? undefined : await readTextFile(caFile),
    });
    return parseStoreUrl(url, this.streams.env, flags);
  }

  /** From the file that this flag names, or `-` for a hidden prompt, at which a new one is typed twice; undefined without the flag. */
  async passphrase(flag: string, name: string, { isNew = false } = {}): Promise<string | undefined> {
    const file = this.args.string(flag);
    if (file === undefined) return undefined;
    const isTyped = file === '-' && this.interactive;
    const text = (await this.secret(name, isTyped ? {} : { file })).replace(/\r?\n$/, '');
    if (isTyped && isNew && (await this.secret(`${name}, once more`, {})) !== text)
      throw new DmaasError('USAGE', `the ${name} was typed in two ways`, { hint: 'nothing was changed; try again' });
    return text;
  }

  /** The location of `--location-file`, which needs no cluster, or of `--location`, else the default one of the namespace. */
  async location(): Promise<LocationAccess> {
    const file = this.args.string('location-file');
    if (file === undefined) return getLocationAccess(await this.cluster(), await this.places(), this.args.string('location'));
    return this.access(parseLocationDocument(await this.secret('exported location', { file })));
  }

  /** What a document names; access keys that it does not hold come from the environment. */
  async access(document: LocationDocument): Promise<LocationAccess> {
    const { secretAccessKey, serviceAccount } = document.credential;
    if (secretAccessKey !== undefined || serviceAccount !== undefined) return accessFromDocument(document);
    return accessFromDocument(document, await credentialFromEnvironment(document, this.streams.env));
  }

  /** Those of this call's flags that are `names`, to be pasted behind another command. */
  repeat(names: readonly string[]): string {
    const flags = names.flatMap((name) => {
      if (this.args.bool(name)) return [`--${name}`];
      const standard = GLOBAL_FLAGS.find((flag) => flag.name === name)?.default;
      // `each`: what is given twice by mistake is for the command to refuse, not for its hint.
      const values = this.args.each(name).filter((value) => value !== standard);
      return values.map((value) => `${name === 'namespace' ? '-n' : `--${name}`} ${shellWord(value)}`);
    });
    return flags.join(' ');
  }

  /** How movers run. */
  movers(): { readonly moverOptions: MoverOptions; readonly maxMovers: number } {
    const image = this.args.string('mover-image') ?? this.streams.env['DMAAS_MOVER_IMAGE'];
    const maxMovers = Number(this.args.string('max-movers') ?? DEFAULT_MAX_MOVERS);
    if (!Number.isInteger(maxMovers) || maxMovers < 1) throw new DmaasError('USAGE', '--max-movers must be a whole number of at least 1');
    return { moverOptions: image === undefined ? {} : { image }, maxMovers };
  }

  async searched(): Promise<readonly string[]> {
    return [...new Set([await this.namespace(), this.homeNamespace])].map((n) => `namespace ${n}`);
  }

  /** A text for people, whose commands look where this call has looked. */
  pasteable(text: string): string {
    return withFlags(text, this);
  }

  /** A line for people: hints, results of changes, warnings. */
  note(text: string): void {
    this.streams.stderr.write(`${this.pasteable(text)}\n`);
  }

  get interactive(): boolean {
    return this.streams.stdin.isTTY && this.streams.stderr.isTTY;
  }

  /** Asks before something that cannot be undone. Without a terminal and without `-y` this is an error. */
  async confirm(question: string): Promise<void> {
    if (this.args.bool('yes')) return;
    if (!this.interactive) throw new DmaasError('USAGE', `${question} needs a confirmation`, { hint: 'add -y' });
    const { confirm } = await import('@inquirer/prompts');
    const yes = await confirm(
      { message: question, default: false },
      { output: this.streams.stderr, input: this.streams.stdin, signal: this.signal },
    );
    if (!yes) throw new DmaasError('CANCELLED', 'not confirmed');
  }

  /** A secret from a file, from an environment variable, from standard input (`-`), or typed at a hidden prompt. Never from argv. */
  async secret(
    name: string,
    source: { readonly file?: string | undefined; readonly env?: string | undefined },
    read = readTextFile,
  ): Promise<string> {
    if (source.env !== undefined) {
      const value = this.streams.env[source.env];
      if (value === undefined || value === '') throw new DmaasError('USAGE', `the environment variable ${source.env} is not set`);
      return value;
    }
    if (source.file === '-') {
      let text = '';
      for await (const chunk of this.streams.stdin) text += String(chunk);
      return text;
    }
    if (source.file !== undefined) return read(source.file);
    if (!this.interactive)
      throw new DmaasError('USAGE', `${name} is missing`, { hint: 'give it by a file, an environment variable or standard input' });
    const { password } = await import('@inquirer/prompts');
    return password({ message: name, mask: true }, { output: this.streams.stderr, input: this.streams.stdin, signal: this.signal });
  }

  /** Runs an operation with its progress shown on stderr. */
  async withProgress<T>(run: (emit: Progress['emit']) => Promise<T>): Promise<T> {
    const progress = await showProgress({
      stderr: this.streams.stderr,
      format: this.args.string('log-format') === 'json' ? 'json' : 'text',
      now: () => this.now(),
    });
    const emit: Progress['emit'] = (event) => {
      const hint = event.type === 'finding' ? event.finding.hint : undefined;
      progress.emit(
        event.type !== 'finding' || hint === undefined ? event : { ...event, finding: { ...event.finding, hint: this.pasteable(hint) } },
      );
    };
    try {
      const result = await run(emit);
      await progress.finish();
      return result;
    } catch (error) {
      await progress.finish(error);
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.clusters.values()].map(async (c) => (await c).close()));
  }

  private clusterOptions(context: string | undefined): ClusterOptions {
    const a = this.args;
    const chosen = context ?? a.string('context');
    const shared = { kubeconfig: a.string('kubeconfig'), context: chosen, requestTimeout: a.string('request-timeout') };
    // Flags that speak of one API server or identity belong to the cluster the command works on, not to another one it restores to.
    if (context !== undefined) return defined(shared);
    const groups = a.list('as-group');
    return defined({
      ...shared,
      namespace: a.string('namespace'),
      cluster: a.string('cluster'),
      user: a.string('user'),
      server: a.string('server'),
      token: a.string('token'),
      as: a.string('as'),
      asGroups: groups.length > 0 ? groups : undefined,
      asUid: a.string('as-uid'),
      certificateAuthority: a.string('certificate-authority'),
      clientCertificate: a.string('client-certificate'),
      clientKey: a.string('client-key'),
      insecureSkipTlsVerify: a.bool('insecure-skip-tls-verify') ? true : undefined,
      tlsServerName: a.string('tls-server-name'),
    });
  }
}

/** The fields that have a value. */
function defined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
