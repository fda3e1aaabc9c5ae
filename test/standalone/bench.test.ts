import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Row } from '../bench/report.ts';
import { scratch } from '../support/volume.ts';

const TASK = join(import.meta.dirname, '../support/tasks/bench.ts');

describe('the benchmark', function () {
  this.timeout(180_000);

  it('runs every work on every set and store, and writes what it measured', async () => {
    const dir = scratch();
    try {
      const options = ['--tools=dmaas,tar', '--sets=B,D', '--scale=0.002', '--rounds=1', '--stores=local,s3', `--out=${dir.path}`];
      const { stdout } = await promisify(execFile)(process.execPath, [TASK, ...options]);
      const { rows } = JSON.parse(readFileSync(join(dir.path, 'results.json'), 'utf8')) as { rows: Row[] };
      const ours = rows.flatMap((row) => row.columns.filter((c) => c.tool === 'dmaas').map((c) => ({ ...row, ...c })));
      const works = (store: string, set: string) => ours.filter((r) => r.store === store && r.set === set).map((r) => r.work);
      for (const store of ['local', 's3']) {
        assert.deepEqual(works(store, 'D'), ['first', 'no change', 'restore', 'one file']);
        assert.deepEqual(works(store, 'B'), ['first', 'no change', '1 % change', 'restore', 'one file']);
      }
      for (const row of ours) {
        const what = JSON.stringify(row);
        assert.equal(row.faults, 0, what);
        assert.ok(row.wallSeconds > 0 && row.cpuSeconds > 0 && row.peakBytes > 2 ** 24, what);
        assert.equal(row.traffic !== undefined, row.store === 's3', what);
        if (row.work === 'first') assert.ok(row.addedBytes > 0 && (row.traffic?.requests['PUT'] ?? 1) > 0, what);
      }
      assert.ok(rows.some((row) => row.columns.some((c) => c.tool === 'tar' && c.faults === 0)));
      assert.equal(readFileSync(join(dir.path, 'results.md'), 'utf8'), stdout);
    } finally {
      dir.rm();
    }
  });
});
