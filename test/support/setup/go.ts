import { chmod, cp, readdir } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { cached } from './cache.ts';
import { attempt, run, SetupError } from './command.ts';
import { ensurePackages } from './debian.ts';
import { step } from './progress.ts';

/** What the newest of the modules asks for; any later Go does as well. */
const MINIMUM = { major: 1, minor: 26 };
const TOOLCHAIN = 'go1.26.8';

/** Settings of the user's that would change what is built. Modules come from where the user's settings say. */
const NEUTRAL = { GOFLAGS: '', GOTOOLCHAIN: 'local', GOWORK: 'off', CGO_ENABLED: '0' };

async function versionOf(go: string): Promise<{ major: number; minor: number } | undefined> {
  const result = await attempt(go, ['version'], { env: NEUTRAL }).catch(() => undefined);
  const match = /go version go(\d+)\.(\d+)/.exec(result?.stdout ?? '');
  return match === null ? undefined : { major: Number(match[1]), minor: Number(match[2]) };
}

const suffices = (version: { major: number; minor: number }): boolean =>
  version.major > MINIMUM.major || (version.major === MINIMUM.major && version.minor >= MINIMUM.minor);

/** Fetches a module with its version, verified; returns where its source is, which is read-only. */
export async function fetchGoModule(go: string, module: string): Promise<string> {
  const env = { ...NEUTRAL, GO111MODULE: 'on' };
  const answer = JSON.parse(await run(go, ['mod', 'download', '-json', module], { cwd: '/', env })) as { readonly Dir: string };
  return answer.Dir;
}

/**
 * The Go toolchain as the Go project publishes it through its module proxy, fetched and verified by a Go that is too old to
 * compile with, such as Debian's. Modules carry no execute permissions.
 */
async function fetchToolchain(oldGo: string): Promise<string> {
  const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const module = `golang.org/toolchain@v0.0.1-${TOOLCHAIN}.linux-${arch}`;
  const dir = await cached('go', module, async (target) => {
    await step(`fetching ${TOOLCHAIN}`, async () => {
      await cp(await fetchGoModule(oldGo, module), target, { recursive: true, mode: 0 });
      await chmod(target, 0o755);
      const tools = join(target, 'pkg/tool', `linux_${arch}`);
      for (const folder of [join(target, 'bin'), tools]) {
        for (const program of await readdir(folder)) await chmod(join(folder, program), 0o755);
      }
    });
  });
  return join(dir, 'bin/go');
}

async function findGo(): Promise<string> {
  const places = ['go', '/usr/local/go/bin/go', '/usr/bin/go'];
  let old: string | undefined;
  for (const go of places) {
    const version = await versionOf(go);
    if (version === undefined) continue;
    if (suffices(version)) return go;
    old ??= go;
  }
  if (old === undefined) {
    await ensurePackages('golang-go', 'ca-certificates');
    old = '/usr/bin/go';
    const version = await versionOf(old);
    if (version === undefined)
      throw new SetupError('there is no Go compiler', `install Go ${MINIMUM.major}.${MINIMUM.minor} or later and put it on PATH`);
    if (suffices(version)) return old;
  }
  return fetchToolchain(old);
}

let found: Promise<string> | undefined;

/** A Go compiler that is new enough. */
export function ensureGo(): Promise<string> {
  found ??= findGo();
  return found;
}

/** The environment for programs that call `go` themselves. */
export async function goEnvironment(): Promise<Record<string, string>> {
  const go = await ensureGo();
  return { ...NEUTRAL, PATH: go === 'go' ? (process.env['PATH'] ?? '') : [dirname(go), process.env['PATH']].join(delimiter) };
}

/** Compiles a program of a Go module, once; returns its path. */
export async function ensureGoProgram(name: string, module: string, version: string): Promise<string> {
  const dir = await cached(name, `${module}@${version}`, async (target) => {
    const go = await ensureGo();
    await step(`compiling ${name} ${version}, which takes some minutes`, async () => {
      // Two at a time: the compiler takes half a gigabyte for each.
      await run(go, ['install', '-p', '2', '-trimpath', '-buildvcs=false', '-ldflags', '-s -w', `${module}@${version}`], {
        cwd: '/',
        env: { ...(await goEnvironment()), GOBIN: target },
      });
    });
  });
  return join(dir, name);
}

export const ensureMinio = (): Promise<string> => ensureGoProgram('minio', 'github.com/minio/minio', 'v0.0.0-20260212201848-7aac2a2c5b7c');

/** Before 1.56 it ignored ifGenerationMatch on resumable uploads, which is what a conditional create rests on. */
export const ensureFakeGcs = (): Promise<string> => ensureGoProgram('fake-gcs-server', 'github.com/fsouza/fake-gcs-server', 'v1.56.1');
