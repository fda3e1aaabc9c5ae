import assert from 'node:assert/strict';
import { access, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { VSIX } from '../support/tasks/build-extension.ts';
import { startEditor, type Editor } from '../support/vscode/editor.ts';
import { Workbench } from '../support/vscode/workbench.ts';
import { NOTE, theWorld, withElsewhere, type World } from '../support/vscode/world.ts';

/** What goes wrong for users: each is one message with one thing to do, and afterwards the view is as it should be. */
describe('the extension in trouble', function () {
  this.timeout(480_000);
  let world: World;
  let editor: Editor;
  let ui: Workbench;

  /** The one message that is shown; it says so and offers that. */
  const onlyMessage = async (text: RegExp, action: string): Promise<void> => {
    await ui.message(text);
    const messages = await ui.messages();
    assert.equal(messages.length, 1, messages.join('\n'));
    assert.deepEqual(await ui.messageActions(text), [action]);
  };

  const openLocationFile = async (path: string): Promise<void> => {
    await ui.command('DMaaS: Open Location File…');
    await ui.chooseFile(path);
  };

  before(async () => {
    world = await theWorld();
    await world.dmaas('backup create steady --app shop');
    editor = await startEditor({ extensions: [VSIX], env: { KUBECONFIG: world.kubeconfig, DMAAS_MOVER_IMAGE: world.moverImage } });
    ui = new Workbench(editor, 'trouble');
    await ui.open();
    await ui.seeItem('Backups', 'steady');
  });

  afterEach(async function () {
    await ui.shootFailure(this.currentTest);
    await ui.clearMessages();
  });

  after(() => editor.stop());

  it('a cluster that does not answer', async () => {
    await ui.expand('Applications', 'elsewhere');
    await onlyMessage(/^No answer from https:\/\/127\.0\.0\.1:1/, 'Try Again');
    await ui.seeItem('Applications', /^No answer from/);
    await ui.shoot('cluster-unreachable');
    await writeFile(world.kubeconfig, await withElsewhere(world.cluster));
    await ui.answer(/^No answer/, 'Try Again');
    await ui.item('Applications', /^No answer from/).waitFor({ state: 'detached' });
    // The other applications, and now those of this cluster too.
    await ui.fold('Backups');
    await ui.seeItems('Applications', world.namespace, 2);
    await ui.fold('Backups');
  });

  it('access keys that are not valid any more', async () => {
    const [name = ''] = (
      await world.cluster.kubectl(
        '-n',
        world.namespace,
        'get',
        'secret',
        '-l',
        'dmaas.io/role=credential',
        '-o',
        'jsonpath={.items[*].metadata.name}',
      )
    ).split(' ');
    const setKey = (key: string) =>
      world.cluster.kubectl('-n', world.namespace, 'patch', 'secret', name, '-p', JSON.stringify({ stringData: { secretAccessKey: key } }));
    await setKey('expired');
    await ui.command('DMaaS: Refresh');
    await onlyMessage(/refuse|denied|signature|access key/i, 'Try Again');
    assert.deepEqual(
      (await ui.messages()).filter((text) => text.includes('expired')),
      [],
    );
    await ui.shoot('keys-expired');
    await setKey(world.store.secretKey);
    await ui.answer(/./, 'Try Again');
    await ui.seeItem('Backups', 'steady');
  });

  it('a bucket that is gone', async () => {
    const file = join(dirname(world.locationFile), 'gone.yaml');
    await writeFile(
      file,
      (await readFile(world.locationFile, 'utf8')).replace(/^bucket: .*$/m, 'bucket: gone-bucket').replace(/^name: .*$/m, 'name: gone'),
    );
    await openLocationFile(file);
    await onlyMessage(/bucket gone-bucket/i, 'Try Again');
    await ui.shoot('bucket-gone');
    await ui.seeItem('Backups', 'steady');
    await world.store.createBucket('gone-bucket');
    await ui.answer(/bucket gone-bucket/i, 'Try Again');
    await ui.item('Backups', /gone-bucket/).waitFor({ state: 'detached' });
  });

  it('a key that opens nothing in the bucket', async () => {
    const file = join(dirname(world.locationFile), 'other.yaml');
    await world.dmaas('location create other --credential lab --bucket backups');
    await world.dmaas(`location export other --with-credentials -f ${file}`);
    await world.dmaas('location delete other --yes');
    await openLocationFile(file);
    await onlyMessage(/the key of location other opens none of 1 repository/i, 'Open Another File…');
    await ui.shoot('wrong-key');
    await ui.clearMessages();
    await ui.fold('Locations');
    await ui.choose('Locations', 'other', 'Forget This Location File');
    await ui.item('Locations', 'other').waitFor({ state: 'detached' });
    await ui.fold('Locations');
    await ui.seeItem('Backups', 'steady');
  });

  it('a location file without access keys: they are asked for, hidden, and the bucket opens', async () => {
    const file = join(dirname(world.locationFile), 'bare.yaml');
    await world.dmaas(`location export lab -f ${file}`);
    await openLocationFile(file);
    await ui.quickInput.getByText('Access key id for bucket backups').waitFor();
    await ui.type(world.store.accessKey);
    await ui.key('Enter');
    await ui.quickInput.getByText(/^Secret access key\. It is kept in the secret storage/).waitFor();
    assert.equal(await ui.quickInput.locator('input').first().getAttribute('type'), 'password');
    await ui.shoot('enter-keys');
    await ui.type(world.store.secretKey);
    await ui.key('Enter');
    await ui.fold('Locations');
    await ui
      .view('Locations')
      .getByText(/backups · file · \d+ backup/)
      .waitFor();
    await ui.shoot('locations');
    await ui.fold('Locations');
  });

  it('a backup that was deleted meanwhile', async () => {
    await world.dmaas('backup create doomed --app shop --manifests-only');
    await ui.command('DMaaS: Refresh');
    await ui.seeItem('Backups', 'doomed');
    await world.dmaas('backup delete doomed --yes');
    await ui.expand('Backups', 'doomed');
    await ui.expand('Backups', 'Resources');
    await onlyMessage(/^No backup is called/, 'Refresh');
    await ui.shoot('backup-deleted');
    await ui.answer(/^No backup is called/, 'Refresh');
    await ui.item('Backups', 'doomed').waitFor({ state: 'detached' });
    await ui.seeItem('Backups', 'steady');
  });

  it('a file of two gigabytes: not opened but saved, and saving can be stopped', async () => {
    await ui.fold('Applications');
    await ui.expand('Backups', 'steady');
    await ui.expand('Backups', 'Volumes');
    await ui.expand('Backups', 'uploads');
    await ui.click('Backups', 'disk.img');
    await onlyMessage(/^disk\.img has 2Gi\. Files over 50Mi are not opened in an editor\.$/, 'Save As…');
    await ui.shoot('large-file');
    await ui.answer(/^disk\.img/, 'Save As…');
    const target = join(editor.folder, 'disk.img');
    await ui.chooseFile(target);
    await ui.message(/^Saving disk\.img/);
    await ui.answer(/^Saving disk\.img/, 'Cancel');
    await editor.page.locator('.notification-toast', { hasText: 'Saving disk.img' }).waitFor({ state: 'detached' });
    // The message goes at once, what was written soon after.
    const isGone = async (path: string): Promise<boolean> =>
      access(path).then(
        () => false,
        () => true,
      );
    for (let turn = 0; turn < 100 && !(await isGone(`${target}.part`)); turn++) await setTimeout(100);
    assert.deepEqual([await isGone(`${target}.part`), await isGone(target)], [true, true]);
  });

  it('and after all that, saves a file whole', async () => {
    await ui.expand('Backups', 'letters');
    await ui.press('Backups', 'note.txt', 'Save As');
    const target = join(editor.folder, 'note.txt');
    await ui.chooseFile(target);
    await ui.message(/^note\.txt is saved as/);
    assert.equal(await readFile(target, 'utf8'), NOTE);
  });
});
