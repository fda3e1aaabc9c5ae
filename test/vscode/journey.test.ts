import assert from 'node:assert/strict';
import { fingerprint, waitForDemo } from '../demo/data.ts';
import { VSIX } from '../support/tasks/build-extension.ts';
import { startEditor, type Editor } from '../support/vscode/editor.ts';
import { Workbench } from '../support/vscode/workbench.ts';
import { theWorld, type World } from '../support/vscode/world.ts';

/** What a user does, from the first look to the restored application. Each step needs those before. */
describe('the extension, from a running application to its copy', function () {
  this.timeout(480_000);
  this.bail(true);
  let world: World;
  let editor: Editor;
  let ui: Workbench;
  let name = '';

  before(async function () {
    this.timeout(480_000);
    world = await theWorld();
    editor = await startEditor({
      extensions: [VSIX],
      env: { KUBECONFIG: world.kubeconfig, DMAAS_MOVER_IMAGE: world.moverImage },
    });
    ui = new Workbench(editor, 'journey');
  });

  afterEach(function () {
    return ui.shootFailure(this.currentTest);
  });

  after(() => editor.stop());

  it('finds the application, and that nothing protects it', async () => {
    await ui.open();
    await ui.seeItem('Applications', world.cluster.context);
    await ui.seeItem('Applications', world.namespace);
    const app = await ui.seeItem('Applications', 'shop');
    await app.filter({ hasText: 'not backed up · 2 volumes' }).waitFor();
    await ui.expand('Applications', 'shop');
    await ui.seeItem('Applications', 'data-db-0');
    await ui.seeItem('Applications', 'uploads');
    await ui.shoot('applications');
  });

  it('backs it up', async () => {
    await ui.press('Applications', 'shop', 'Back Up Now');
    await ui.seeItem('Activity', 'Back up shop');
    await ui.view('Activity').getByText('Capturing volumes').waitFor({ timeout: 120_000 });
    await ui.shoot('backing-up');
    await ui.view('Activity').getByText('done').waitFor({ timeout: 300_000 });
    await ui.item('Applications', 'shop').filter({ hasText: 'backed up' }).waitFor();
    const { items } = JSON.parse(await world.dmaas('backup list -o json')) as { items: { name: string }[] };
    const [made] = items;
    name = made?.name ?? '';
    await ui.seeItem('Backups', name);
  });

  it('opens a manifest', async () => {
    await ui.fold('Applications');
    await ui.expand('Backups', name);
    await ui.expand('Backups', 'Resources');
    await ui.expand('Backups', 'StatefulSet');
    await ui.click('Backups', 'db');
    await ui.tab('db.yaml').waitFor();
    await ui.shoot('manifest');
    assert.match(await ui.text(), /kind: StatefulSet/);
  });

  it('compares it with what runs', async () => {
    await world.cluster.kubectl('-n', world.namespace, 'label', 'statefulset/db', 'tier=gold', '--overwrite');
    await ui.press('Backups', 'db', 'Compare with Live');
    await ui.tab('statefulset/db').waitFor();
    await editor.page.locator('.monaco-diff-editor .char-insert, .monaco-diff-editor .line-insert').first().waitFor();
    await ui.shoot('compare');
    await world.cluster.kubectl('-n', world.namespace, 'label', 'statefulset/db', 'tier=db', '--overwrite');
  });

  it('opens a file of a volume', async () => {
    await ui.expand('Backups', 'Volumes');
    await ui.expand('Backups', 'uploads');
    await ui.expand('Backups', 'letters');
    await ui.click('Backups', 'note.txt');
    await ui.tab('note.txt').waitFor();
    assert.match(await ui.text(), /Bring flowers\.\s*Open at nine\./);
    await ui.shoot('file');
  });

  it('shows what a restore over the running application would meet, and what helps', async () => {
    await ui.press('Backups', name, 'Restore');
    await ui.seeStep('Restore shop', 'To which cluster?');
    await ui.shoot('restore-cluster');
    await ui.pick(world.cluster.context);
    await ui.seeStep('Restore shop', /To which namespace/);
    await ui.shoot('restore-namespace');
    await ui.pick('its own; exists');
    await ui.seeStep('Restore shop', 'What, and how?');
    await ui.shoot('restore-options');
    await ui.key('Enter');
    await ui.seeStep('Restore shop', /Preflight check failed/);
    await ui.choice(/secret\/db exists/).waitFor();
    await ui.shoot('restore-preflight-failed');
    await ui.pick(`Restore to namespace ${world.namespace}-restored`);
    // The application has a binding that reaches beyond its namespace; that needs consent, and the same line in a terminal has it too.
    await ui.seeStep('Restore shop', /Preflight check failed/);
    await ui.choice(/clusterrolebinding\/\S+ grants/).waitFor();
    await ui.shoot('restore-preflight-consent');
    await ui.pick(/Allow clusterrolebinding/);
    await ui.seeStep('Restore shop', 'Preflight check passed');
    await ui.shoot('restore-preflight');
  });

  it('shows the plan, and the same in kubectl’s words', async () => {
    await ui.quickInput.getByRole('button', { name: 'Open Plan as YAML' }).click();
    await ui.tab('Restore plan').waitFor();
    assert.ok(!(await ui.text()).includes('correct-horse'));
  });

  it('restores to another namespace in three phases, until it is ready', async () => {
    await ui.pick('Start Restore');
    const timeline = ui.timeline();
    for (const phase of ['Preflight check', 'Restoring backups', 'Activating application'])
      await timeline.getByText(phase, { exact: true }).waitFor({ timeout: 120_000 });
    await timeline.locator('.phase.running .title', { hasText: 'Restoring backups' }).waitFor({ timeout: 120_000 });
    await ui.shoot('timeline-running');
    await timeline.locator('.outcome.done, .outcome.gaps').waitFor({ timeout: 400_000 });
    assert.equal(await timeline.locator('.phase.done').count(), 3);
    await ui.shoot('timeline-done');
    await waitForDemo(world.cluster, `${world.namespace}-restored`);
    assert.deepEqual(await fingerprint(world.cluster, `${world.namespace}-restored`), await fingerprint(world.cluster, world.namespace));
  });

  it('keeps the timeline when the window is loaded again', async () => {
    await editor.reload();
    await ui.timeline().locator('.phase.done').first().waitFor({ timeout: 120_000 });
    await ui.open();
    await ui.unfold('Applications');
    await ui.seeItem('Applications', `${world.namespace}-restored`);
    await ui.shoot('after-reload');
  });

  it('goes on with a restore that stopped when its window was loaded again', async () => {
    const target = `${world.namespace}-again`;
    const title = `Restore shop to ${target}`;
    await ui.command('View: Close All Editors');
    await ui.press('Backups', name, 'Restore');
    await ui.seeStep('Restore shop', 'To which cluster?');
    await ui.pick(world.cluster.context);
    await ui.seeStep('Restore shop', /To which namespace/);
    await ui.type(target);
    await ui.pick(target);
    await ui.seeStep('Restore shop', 'What, and how?');
    await ui.key('Enter');
    await ui.pick(/Allow clusterrolebinding/);
    await ui.pick('Start Restore');
    await ui.timeline().locator('.phase.running .title', { hasText: 'Restoring backups' }).waitFor({ timeout: 120_000 });
    await editor.reload();
    // Which editors are open again depends on when the window last wrote that down.
    await ui.command('View: Close All Editors');
    await ui.open();
    await ui.click('Activity', title);
    await ui.timeline().locator('.outcome.interrupted').waitFor({ timeout: 120_000 });
    await ui.shoot('interrupted');
    await ui.press('Activity', title, 'Resume');
    await ui.timeline().locator('.outcome.done, .outcome.gaps').waitFor({ timeout: 400_000 });
    await ui.shoot('resumed');
    await waitForDemo(world.cluster, target);
    assert.deepEqual(await fingerprint(world.cluster, target), await fingerprint(world.cluster, world.namespace));
  });
});
