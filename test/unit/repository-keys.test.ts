import assert from 'node:assert/strict';
import { deriveScope, formatKey, newKey, openSource, parseKey, sealSource } from '../../core/src/repository/keys/keys.ts';
import { RepositoryKeys, type KeySet } from '../../core/src/repository/format/key-set.ts';
import { unwrapKeySet, wrapKeySet, type Wrap } from '../../core/src/repository/keys/key-wrap.ts';
import { gearTable } from '../../core/src/repository/format/chunker.ts';
import { hmac } from '../../core/src/repository/format/derive.ts';
import { seededRandom, testKeys } from '../support/repository.ts';

// The literal values were computed with Python's hashlib and cryptography from the text of core/DESIGN.md, not with this code.
const KEY = Uint8Array.from({ length: 32 }, (_, i) => i);
const TEXT = 'dmaas-key-1-aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypwgdonfe';
const SCOPE = { clusterId: '6f1d2c3b-0000-4000-8000-000000000001', namespace: 'shop' };

describe('repository keys', () => {
  it('are written as text and read again', () => {
    assert.equal(formatKey(KEY), TEXT);
    assert.deepEqual(Uint8Array.from(parseKey(`  ${TEXT.toUpperCase()}\n`)), KEY);
    const key = newKey(seededRandom(3));
    assert.deepEqual(Uint8Array.from(parseKey(formatKey(key))), Uint8Array.from(key));
  });

  it('say when they are mistyped, at every place', () => {
    for (let at = 'dmaas-key-1-'.length; at < TEXT.length; at++) {
      const other = TEXT[at] === 'x' ? 'y' : 'x';
      const typo = TEXT.slice(0, at) + other + TEXT.slice(at + 1);
      assert.throws(() => parseKey(typo), { code: 'REPOSITORY_KEY', message: /mistyped/ }, typo);
    }
    for (const text of [TEXT.slice(0, -1), `${TEXT}a`, 'dmaas-key-1-', 'dmaas-key-1-1']) {
      assert.throws(() => parseKey(text), { code: 'REPOSITORY_KEY', message: /mistyped/ });
    }
    for (const text of ['', 'secret', TEXT.slice(6)])
      assert.throws(() => parseKey(text), { code: 'REPOSITORY_KEY', message: /no DMaaS key/ });
  });

  it('never appear in the error about them', () => {
    const typo = `${TEXT.slice(0, -2)}aa`;
    assert.throws(
      () => parseKey(typo),
      (e: Error) => !JSON.stringify([e.message, e]).includes(typo.slice(14, 30)),
    );
  });

  it('of a location derive directory and key of a namespace', () => {
    const { directory, unlock } = deriveScope(KEY, SCOPE);
    assert.equal(directory, 'g4dmgybf4nzluyu4orudyktpwm');
    assert.equal(Buffer.from(unlock).toString('hex'), '203fbdadd4f00ed18f08b1efd38bb6330e325f1d64fd4e9b6c1cba8ce81e043f');
    assert.notEqual(deriveScope(KEY, { ...SCOPE, namespace: 'shop2' }).directory, directory);
    assert.notEqual(deriveScope(seededRandom(1)(32), SCOPE).directory, directory);
  });

  it('of a repository give the ids of blobs, different ones for each kind', () => {
    const keys = testKeys();
    assert.equal(keys.blobId('data', Buffer.from('hello')), 'ddad4d14214a4414c3e5eedbb6b0f4ed2eb543b887ca88fd');
    assert.equal(keys.blobId('node', Buffer.from('hello')), '7af258398a63baf5ecf25add5cb7948e9ff1c40f459b478a');
    const gear = gearTable(keys.chunker);
    assert.equal(gear.length, 256);
    assert.deepEqual([gear[0], gear[1], gear[255]], [0x830f8454, 0x2be8cb63, 0x7959507f]);
    assert.equal(hmac(keys.chunker, 'tree').subarray(0, 4).toString('hex'), 'ea9a20dd');
  });
});

describe('the object source', () => {
  const source = { ...SCOPE, context: 'prod' };
  const { directory } = deriveScope(KEY, source);
  const object = sealSource(KEY, source, seededRandom(1));

  it('opens with the location key that sealed it', () => {
    assert.deepEqual(openSource(KEY, directory, object), source);
  });

  it('is nobody’s business with another key, in another directory, or changed', () => {
    assert.equal(openSource(seededRandom(2)(32), directory, object), undefined);
    assert.equal(openSource(KEY, deriveScope(KEY, { ...SCOPE, namespace: 'x' }).directory, object), undefined);
    for (let at = 16; at < object.length; at++) {
      const changed = Uint8Array.from(object);
      changed[at] = (changed[at] as number) ^ 1;
      assert.equal(openSource(KEY, directory, changed), undefined);
    }
  });

  it('of a newer format is left alone', () => {
    const newer = Uint8Array.from(object);
    newer[6] = 2;
    assert.throws(() => openSource(KEY, directory, newer), { code: 'REPOSITORY_VERSION' });
  });
});

describe('a wrapped key set', () => {
  const keySet: KeySet = {
    dedup: Buffer.alloc(32, 1),
    epochs: [
      { epoch: 1, root: Buffer.alloc(32, 2) },
      { epoch: 2, root: Buffer.alloc(32, 3) },
    ],
  };
  const unlock = Buffer.alloc(32, 7);
  const repositoryId = Buffer.alloc(16, 9);
  const wrap = wrapKeySet(keySet, { key: unlock }, repositoryId, (n) => Buffer.alloc(n, 8));

  it('opens with its key', () => {
    const opened = unwrapKeySet(wrap, unlock, repositoryId, 'k') as KeySet;
    assert.deepEqual(Buffer.from(opened.dedup), keySet.dedup);
    assert.deepEqual(opened.epochs, keySet.epochs);
    assert.equal(new RepositoryKeys(opened, repositoryId).epoch, 2);
  });

  it('commits to its key', () => {
    assert.equal(Buffer.from(wrap['commitment'] as string, 'base64').toString('hex'), 'e1e8eb83d8c08e07bf2155f71b45f039');
    assert.equal(unwrapKeySet(wrap, Buffer.alloc(32, 6), repositoryId, 'k'), undefined);
  });

  it('of a kind this version does not know is not for us', () => {
    assert.equal(unwrapKeySet({ id: wrap.id, kind: 'x25519', stanza: 'abc' }, unlock, repositoryId, 'k'), undefined);
  });

  it('is damaged rather than wrong when only its content changed', () => {
    const sealed = Buffer.from(wrap['sealed'] as string, 'base64');
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] as number) ^ 0x10;
      const broken: Wrap = { ...wrap, sealed: changed.toString('base64') };
      assert.throws(() => unwrapKeySet(broken, unlock, repositoryId, 'keys/1'), { code: 'REPOSITORY_CORRUPT', message: /^keys\/1 / });
    }
    assert.throws(() => unwrapKeySet({ ...wrap, sealed: 'AAAA' }, unlock, repositoryId, 'k'), { code: 'REPOSITORY_CORRUPT' });
    assert.throws(() => unwrapKeySet({ ...wrap, salt: undefined }, unlock, repositoryId, 'k'), { code: 'REPOSITORY_CORRUPT' });
    assert.throws(() => unwrapKeySet(wrap, unlock, Buffer.alloc(16), 'k'), { code: 'REPOSITORY_CORRUPT' });
  });
});
