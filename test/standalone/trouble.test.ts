import assert from 'node:assert/strict';
import { globSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pluginWithoutCluster, type Plugin } from '../support/plugin.ts';

interface Mistake {
  readonly args: string;
  readonly exit: number;
  readonly error: RegExp;
  readonly hint?: RegExp;
}

/** HERE is a directory with the repository `good`, the directory `source`, the file `full/x` and key files. */
const GOOD = '--repository file://HERE/good --key-file HERE/key';
const MISTAKES: readonly Mistake[] = [
  { args: 'volume', exit: 2, error: /volume needs one of: backup, list, ls, cat, restore/ },
  { args: 'volume backup source', exit: 2, error: /--repository is missing/, hint: /s3:\/\/BUCKET/ },
  { args: 'volume backup source --repository file://HERE/good', exit: 2, error: /--key-file is missing/, hint: /repository init/ },
  { args: 'volume backup source --repository nonsense --key-file HERE/key', exit: 2, error: /that is not the URL of a store/ },
  {
    args: 'volume backup source --repository s3://id:SECRET@host/b --key-file HERE/key',
    exit: 2,
    error: /^(?!.*SECRET).*not the URL of a store/,
  },
  {
    args: 'volume list --repository file://HERE/good --key-file HERE/none',
    exit: 2,
    error: /key file \S+none does not exist/,
    hint: /init/,
  },
  { args: 'volume list --repository file://HERE/good --key-file HERE/text', exit: 12, error: /this is no DMaaS key/ },
  { args: 'volume list --repository file://HERE/good --key-file HERE/cut', exit: 12, error: /mistyped or cut short/ },
  { args: 'volume list --repository file://HERE/good --key-file HERE/other', exit: 12, error: /key does not open/ },
  { args: 'volume list --repository file://HERE/source --key-file HERE/key', exit: 10, error: /there is no repository at file:\S+source/ },
  { args: 'volume list --repository file://HERE/none --key-file HERE/key', exit: 20, error: /directory \S+none does not exist/ },
  { args: 'repository init --repository file://HERE/a/b/c --key-file HERE/key', exit: 2, error: /directory \S+ cannot be made \(ENOENT\)/ },
  {
    args: 'repository init --repository file://HERE/new --key-file HERE/a/key',
    exit: 2,
    error: /key file \S+ cannot be written \(ENOENT\)/,
  },
  { args: `volume list ${GOOD} --region x`, exit: 2, error: /region means nothing to a store of file/ },
  {
    args: 'volume list --repository s3://backups --endpoint 127.0.0.1:9000 --key-file HERE/key',
    exit: 2,
    error: /an endpoint begins with http/,
  },
  { args: 'volume list --repository s3://b --ca-file HERE/none --key-file HERE/key', exit: 2, error: /none cannot be read/ },
  { args: `volume backup none ${GOOD}`, exit: 2, error: /none cannot be backed up: it does not exist/ },
  { args: `volume backup /dev/null ${GOOD}`, exit: 2, error: /neither a directory nor a block device/ },
  { args: `volume backup HERE ${GOOD}`, exit: 2, error: /the repository \S+good lies in \S+, which it should back up/, hint: /outside/ },
  { args: `volume restore latest full ${GOOD}`, exit: 40, error: /the volume is not empty/, hint: /new volume/ },
  { args: `volume restore latest full/x ${GOOD}`, exit: 40, error: /the target is a block volume/ },
  { args: `volume restore latest /proc/none ${GOOD}`, exit: 40, error: /\/proc\/none cannot be made/ },
  { args: `volume restore nope out ${GOOD}`, exit: 15, error: /no backup is called "nope"/, hint: /the newest are 2/ },
  { args: `volume restore latest out --name nope ${GOOD}`, exit: 15, error: /no backup that matches/ },
  { args: `volume restore latest out --claim nope ${GOOD}`, exit: 2, error: /holds no volume "nope"/, hint: /its volumes are source/ },
  { args: `volume restore latest ${GOOD}`, exit: 2, error: /^TARGET is missing$/ },
  { args: `volume list ${GOOD} -o nope`, exit: 2, error: /there is no output format "nope"/ },
  { args: `repository shrink ${GOOD}`, exit: 2, error: /^there is no command shrink in repository$/ },
  { args: `repository prune --grace soon ${GOOD}`, exit: 2, error: /"soon" is no time/, hint: /--grace 24h/ },
  { args: `repository verify --read-data-subset 3/2 ${GOOD}`, exit: 2, error: /"3\/2" is no part of the data/ },
  { args: `key add ${GOOD}`, exit: 2, error: /one of --new-passphrase-file/ },
  { args: `key add --recipient nobody ${GOOD}`, exit: 2, error: /no DMaaS key: a key begins with dmaas-recipient-1- \(--recipient\)/ },
  { args: `key remove nope --yes ${GOOD}`, exit: 2, error: /./ },
];

describe('kubectl dmaas volume and repository in trouble', () => {
  let plugin: Plugin;
  const at = (path: string) => join(plugin.home, path);
  const words = (args: string) => args.replaceAll('HERE', plugin.home).split(' ');
  before(async () => {
    plugin = await pluginWithoutCluster();
    for (const folder of ['source', 'full']) mkdirSync(at(folder));
    writeFileSync(at('full/x'), 'x');
    writeFileSync(at('source/x'), 'x');
    for (const args of [`repository init ${GOOD}`, `volume backup source ${GOOD}`]) assert.equal((await plugin.run(words(args))).code, 0);
    await plugin.run(words('repository init --repository file://HERE/elsewhere --key-file HERE/other'));
    writeFileSync(at('text'), 'my password');
    writeFileSync(at('cut'), readFileSync(at('key'), 'utf8').slice(0, 40));
  });
  after(() => plugin.remove());

  for (const { args, exit, error, hint } of MISTAKES) {
    it(`${args.replace(GOOD, '…').trim()} exits with ${exit}`, async () => {
      const { code, stdout, stderr } = await plugin.run(words(args));
      assert.equal(code, exit, stderr);
      assert.equal(stdout, '');
      const said = /^error: (.*)$/m.exec(stderr)?.[1] ?? '';
      assert.match(said, error);
      if (hint !== undefined) assert.match(/^hint: (.*)$/m.exec(stderr)?.[1] ?? '', hint);
    });
  }

  it('is coloured as --color says', async () => {
    const wrong = (...more: string[]) => ['volume', 'list', '-o', 'nope', ...more];
    const [never, always, auto] = await Promise.all([
      plugin.run(wrong('--color', 'never'), { NO_COLOR: '', FORCE_COLOR: '1' }),
      plugin.run(wrong('--color=always')),
      plugin.run(wrong()),
    ]);
    for (const { stderr } of [never, auto]) assert.match(stderr, /^error: there is no output format/);
    assert.ok(always.stderr.startsWith('\u001b[31merror:'), always.stderr);
  });

  it('verify names what is damaged and which backups lose by it', async () => {
    const [pack] = globSync('good/packs/*/*', { cwd: plugin.home });
    truncateSync(at(pack!), 20); // whatever is in it
    const { code, stdout } = await plugin.run(words(`repository verify ${GOOD}`));
    assert.equal(code, 13);
    assert.match(stdout, /✗ packs\/\S+ .*\n/);
    const json = await plugin.run(words(`repository verify --read-data -o json ${GOOD}`));
    assert.equal(json.code, 13);
    const { items } = JSON.parse(json.stdout) as { items: { findings: { level: string }[] }[] };
    assert.equal(items[0]?.findings[0]?.level, 'blocker');
  });
});
