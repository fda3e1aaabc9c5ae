/** An index of ten million entries: what opening, one file, a backup and verifying cost. Prints the figures. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const script = join(import.meta.dirname, '../support/index-scale.ts');
/** As in the mover's image. */
const env = { ...process.env, MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '131072', NODE_OPTIONS: '--max-semi-space-size=4' };

interface Figures {
  readonly peakMiB: number;
  readonly segments: number;
  readonly opening: { readonly list: number; readonly get: number };
  readonly getsForOneFile?: number;
  readonly findings?: number;
  readonly backups?: number;
  readonly condemned?: number;
}

describe('an index of 10 million entries', function () {
  this.timeout(3600_000);
  const directory = mkdtempSync(join(tmpdir(), 'dmaas-index-scale-'));
  after(() => {
    rmSync(directory, { recursive: true });
  });

  async function run(verb: string): Promise<Figures> {
    const { stdout } = await promisify(execFile)(process.execPath, [script, verb, directory, '10000000'], { env });
    if (verb !== 'make') console.log(`      ${verb}: ${stdout.trim()}`);
    return verb === 'make' ? { peakMiB: 0, segments: 0, opening: { list: 0, get: 0 } } : (JSON.parse(stdout) as Figures);
  }

  it('is opened with one GET for each segment, and serves one file with few more', async () => {
    await run('make');
    const { peakMiB, segments, opening, getsForOneFile = Infinity } = await run('open');
    assert.ok(opening.get <= segments + 2 && segments <= 10_000_000 / 700_000 + 4, `${opening.get} GETs for ${segments} segments`);
    assert.ok(getsForOneFile <= 2, `${getsForOneFile} GETs`);
    assert.ok(peakMiB <= 256, `${peakMiB} MiB`);
  });

  it('H3: lets a backup stay below 320 MiB', async () => {
    const { peakMiB } = await run('backup');
    assert.ok(peakMiB <= 320, `${peakMiB} MiB`);
  });

  it('H3: lets a collection mark everything below 512 MiB', async () => {
    const { peakMiB, backups, condemned = Infinity } = await run('prune');
    assert.equal(backups, 2);
    assert.ok(condemned < 100, 'nothing but what this process wrote in small packs');
    assert.ok(peakMiB <= 512, `${peakMiB} MiB`);
  });

  it('H3: lets the structure be verified below 512 MiB', async () => {
    const { peakMiB, findings } = await run('verify');
    assert.equal(findings, 0);
    assert.ok(peakMiB <= 512, `${peakMiB} MiB`);
  });
});
