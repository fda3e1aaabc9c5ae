import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEditor, type Editor } from '../support/vscode/editor.ts';
import { buildHostTests } from '../support/vscode/host-tests.ts';
import { VSIX } from '../support/tasks/build-extension.ts';
import { NOTE, theWorld } from '../support/vscode/world.ts';
import type { HostResult } from './host/run.ts';

const LIMIT_MS = 240_000;

describe('the extension inside the extension host', function () {
  this.timeout(480_000);
  let folder: string;
  let editor: Editor;

  before(async () => {
    const world = await theWorld();
    folder = await mkdtemp(join(tmpdir(), 'dmaas-host-'));
    // What one surface has made the other reads.
    const backup = JSON.parse(await world.dmaas('backup create first --app shop -o json')) as { id: string };
    editor = await startEditor({
      extensions: [VSIX, await buildHostTests(folder)],
      env: {
        KUBECONFIG: world.kubeconfig,
        DMAAS_TEST_ROOT: resolve(import.meta.dirname, '../..'),
        DMAAS_TEST_RESULT: join(folder, 'result.json'),
        DMAAS_TEST_CONTEXT: world.cluster.context,
        DMAAS_TEST_NAMESPACE: world.namespace,
        DMAAS_TEST_BACKUP: backup.id,
        DMAAS_TEST_NOTE: NOTE,
      },
    });
  });

  after(async () => {
    await editor.stop();
    await (await theWorld()).dmaas('backup delete first --yes');
    await rm(folder, { recursive: true });
  });

  it('keeps what it promises to the editor', async () => {
    const { passed, failed } = await result(join(folder, 'result.json'));
    assert.deepEqual(failed, [], failed.map(({ title, message }) => `${title}\n${message}`).join('\n\n'));
    assert.ok(passed.length >= 10, `only ${String(passed.length)} tests ran`);
  });
});

async function result(file: string): Promise<HostResult> {
  const deadline = Date.now() + LIMIT_MS;
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text !== undefined) return JSON.parse(text) as HostResult;
    if (Date.now() > deadline) throw new Error('the tests in the extension host did not end');
    await sleep(200);
  }
}
