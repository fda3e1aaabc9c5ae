/** Repositories of one, three and ten million chunks (DMAAS_TEST_MILLIONS) with a backup for every hundred: what opening, one file, a backup, verifying and collecting cost. Prints the figures. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const script = join(import.meta.dirname, '../support/index-scale.ts');
/** As in the mover's image. */
const env = { ...process.env, MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '131072', NODE_OPTIONS: '--max-semi-space-size=4' };

interface Requests {
  readonly list: number;
  readonly get: number;
  readonly put: number;
  readonly stat: number;
  readonly delete: number;
}

interface Figures {
  readonly peakMiB: number;
  readonly segments: number;
  readonly opening: Requests;
  readonly requests: Requests;
  readonly workMs: number;
  readonly cpuMs: number;
  readonly getsForOneFile: number;
  readonly findings: number;
  readonly backups: number;
  readonly condemned: number;
  readonly deleted: number;
}

/** Ascending: times are compared with those of the first. */
const MILLIONS = (process.env['DMAAS_TEST_MILLIONS'] ?? '1,3,10').split(',').map(Number);
const PER_CHUNK: Record<string, number> = {};

for (const millions of MILLIONS) {
  const chunks = millions * 1_000_000;
  const backups = chunks / 100;

  describe(`a repository of ${millions} million chunks and ${backups} backups`, function () {
    this.timeout(2 * 3600_000);
    const directory = mkdtempSync(join(tmpdir(), 'dmaas-index-scale-'));
    after(() => {
      rmSync(directory, { recursive: true });
    });

    async function node(verb: string): Promise<string> {
      const { stdout } = await promisify(execFile)(process.execPath, [script, verb, directory, String(chunks)], { env });
      return stdout.trim();
    }

    async function run(verb: string): Promise<Figures> {
      const stdout = await node(verb);
      console.log(`      ${verb}: ${stdout}`);
      return JSON.parse(stdout) as Figures;
    }

    /** Fails when it took more than twice as much of a processor for each chunk as with the fewest. */
    function assertLinear(what: string, { cpuMs }: Figures): void {
      const perChunk = cpuMs / chunks;
      const least = (PER_CHUNK[what] ??= perChunk);
      assert.ok(perChunk <= least * 2, `${what}: ${perChunk * 1e3} µs for each chunk, and ${least * 1e3} µs in the smallest repository`);
    }

    /** One for each record, at most two for each segment's parts, its size in small ranges, and what nodes need: many of them come with one request. */
    const maxGets = ({ segments }: Figures) => backups * 1.1 + chunks / 1000 + segments * 100;
    const maxLists = (backups * 1.5 + chunks / 250) / 1000 + 30;

    it('is opened with one GET for each segment, and serves one file with few more', async () => {
      await node('make');
      const { peakMiB, segments, opening, getsForOneFile } = await run('open');
      assert.ok(opening.get <= segments + 2 && segments <= chunks / 700_000 + 4, `${opening.get} GETs for ${segments} segments`);
      assert.ok(getsForOneFile <= 2, `${getsForOneFile} GETs`);
      assert.ok(peakMiB <= 256, `${peakMiB} MiB`);
    });

    it('H3: lets a backup stay below 320 MiB', async () => {
      const { peakMiB } = await run('backup');
      assert.ok(peakMiB <= 320, `${peakMiB} MiB`);
    });

    it('H3: lets the structure be verified below 512 MiB, in linear time', async () => {
      await node('make-backups');
      const figures = await run('verify');
      assert.equal(figures.findings, 0);
      assert.ok(figures.peakMiB <= 512, `${figures.peakMiB} MiB`);
      const { get, list, put, delete: deleted } = figures.requests;
      assert.ok(get <= maxGets(figures) && list <= maxLists && put + deleted === 0, JSON.stringify(figures.requests));
      assertLinear('verify', figures);
    });

    it('H3: lets a collection condemn what nothing needs below 512 MiB, in linear time, and the next delete it', async () => {
      const first = await run('collect');
      assert.equal(first.backups, backups);
      assert.ok(first.condemned >= (chunks / 250 / 10) * 0.95 && first.deleted === 0, 'every tenth pack is garbage');
      const second = await run('collect');
      assert.equal(second.deleted, first.condemned);
      for (const figures of [first, second]) {
        assert.ok(figures.peakMiB <= 512, `${figures.peakMiB} MiB`);
        const { get, list, put, delete: deleted } = figures.requests;
        const writes = 2 * figures.segments + 30;
        assert.ok(get <= maxGets(figures) && list <= maxLists && put <= writes, JSON.stringify(figures.requests));
        assert.ok(deleted <= figures.deleted + writes, JSON.stringify(figures.requests));
      }
      assertLinear('collect', first);
      assertLinear('delete', second);
    });
  });
}
