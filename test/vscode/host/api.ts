/** What the extension promises to the editor, asked inside the extension host. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { commands, extensions, FileSystemError, FileType, Uri, workspace } from 'vscode';
import { placeOf, type Address } from '../../../vscode-extension/src/files/address.ts';
import { idOf } from '../../../vscode-extension/src/locations.ts';

const {
  DMAAS_TEST_CONTEXT: context = '',
  DMAAS_TEST_NAMESPACE: namespace = '',
  DMAAS_TEST_BACKUP: backup = '',
  DMAAS_TEST_NOTE: note = '',
} = process.env;

const extension = extensions.getExtension('dmaas.dmaas');
const location = idOf({ kind: 'secret', context, namespace, name: 'lab' });
const uriOf = (address: Address): Uri => Uri.from({ scheme: 'dmaas', ...placeOf(address) });
const file = (path: string): Uri => uriOf({ location, backup, view: 'file', claim: 'uploads', path });
const manifest = (kind: string, name: string, apiVersion: string): Uri =>
  uriOf({ location, backup, view: 'manifest', ref: { apiVersion, kind, name, namespace } });
const read = async (uri: Uri): Promise<string> => Buffer.from(await workspace.fs.readFile(uri)).toString();

/** Bundles of the extension that this process has loaded, by file name. */
const loaded = (): string[] => {
  const { cache } = createRequire(import.meta.url);
  const folder = extension?.extensionPath ?? '';
  return Object.keys(cache).flatMap((path) => (path.startsWith(folder) ? [path.slice(path.lastIndexOf('/') + 1)] : []));
};

describe('the extension in its host', () => {
  it('is installed, and is not started before somebody needs it', () => {
    assert.ok(extension);
    assert.equal(extension.isActive, false);
    assert.deepEqual(loaded(), []);
  });

  it('starts without loading core, a Kubernetes client or an SDK', async () => {
    await extension?.activate();
    assert.equal(extension?.isActive, true);
    assert.deepEqual(loaded(), ['extension.cjs']);
  });

  it('has a command behind each that it contributes', async () => {
    const there = new Set(await commands.getCommands(true));
    const { contributes } = extension?.packageJSON as { contributes: { commands: { command: string }[] } };
    assert.deepEqual(
      contributes.commands.map(({ command }) => command).filter((command) => !there.has(command)),
      [],
    );
  });

  it('gives a file of a volume, byte for byte', async () => {
    assert.equal(await read(file('letters/note.txt')), note);
    const stat = await workspace.fs.stat(file('letters/note.txt'));
    assert.deepEqual([stat.type, stat.size], [FileType.File, note.length]);
  });

  it('loads the Kubernetes client and the SDK that it needs, and no other', () => {
    assert.deepEqual(loaded().sort(), ['core.cjs', 'extension.cjs', 'kube-cluster.cjs', 's3.cjs']);
  });

  it('lists a folder of a volume', async () => {
    assert.deepEqual(await workspace.fs.readDirectory(file('letters')), [['note.txt', FileType.File]]);
  });

  it('gives a manifest as YAML, and of a Secret everything but its values', async () => {
    assert.match(await read(manifest('StatefulSet', 'db', 'apps/v1')), /^apiVersion: apps\/v1\nkind: StatefulSet\nmetadata:\n/);
    const secret = await read(manifest('Secret', 'db', 'v1'));
    assert.match(secret, /\(hidden: 21 bytes, mark [0-9a-f]{8}\)/);
    assert.ok(!secret.includes(Buffer.from('correct-horse-battery').toString('base64')));
  });

  it('lets nothing be written', async () => {
    assert.equal(workspace.fs.isWritableFileSystem('dmaas'), false);
    await assert.rejects(Promise.resolve(workspace.fs.writeFile(file('letters/note.txt'), Buffer.from('x'))), FileSystemError);
    await assert.rejects(Promise.resolve(workspace.fs.delete(file('letters/note.txt'))), FileSystemError);
  });

  it('refuses what is too large for an editor, and says what is not there', async () => {
    await assert.rejects(
      Promise.resolve(workspace.fs.readFile(file('disk.img'))),
      /disk\.img has 2Gi; files over 50Mi are saved, not opened/,
    );
    await assert.rejects(Promise.resolve(workspace.fs.stat(file('letters/nothing'))), (e: FileSystemError) => e.code === 'FileNotFound');
    const gone = uriOf({ location, backup: '20200101T000000Z-aaaaaaaa', view: 'file', claim: 'uploads', path: 'x' });
    await assert.rejects(Promise.resolve(workspace.fs.stat(gone)), /is in no location that is known here/);
  });

  it('is limited in workspaces that are not trusted', () => {
    const { capabilities } = extension?.packageJSON as {
      capabilities: { untrustedWorkspaces: { supported: string; restrictedConfigurations: string[] } };
    };
    assert.equal(capabilities.untrustedWorkspaces.supported, 'limited');
    assert.ok(capabilities.untrustedWorkspaces.restrictedConfigurations.includes('dmaas.kubeconfig'));
  });
});
