import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseJson, stringifyJson } from '../../core/src/json.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { splitLines } from '../../core/src/cluster/lines.ts';
import type { Line } from '../../core/src/cluster/lines.ts';
import { fieldMatcher, labelMatcher } from '../../core/src/cluster/selector.ts';

describe('JSON', () => {
  it('keeps integers of any length', () => {
    for (const text of [
      '{"a":9007199254740993}',
      '[-9223372036854775808,1]',
      '{"a":[18446744073709551615]}',
      '{"a":"12345678901234567890"}',
    ]) {
      assert.equal(stringifyJson(parseJson(text)), text);
    }
    assert.equal(typeof (parseJson('{"a":9007199254740991}') as { a: unknown }).a, 'number');
    assert.deepEqual(parseJson('[1234567890123456789, 1e300, 1.5]'), [1234567890123456789n, 1e300, 1.5]);
    assert.deepEqual(parseJson('{"a": -1234567890123456789}'), { a: -1234567890123456789n });
  });

  it('is otherwise JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        assert.equal(stringifyJson(parseJson(text)), text);
      }),
    );
    assert.throws(() => parseJson('{"a":'), SyntaxError);
    assert.throws(() => parseJson('{"a":1234567890123456789'), SyntaxError);
    assert.equal(stringifyJson({ a: [1] }, 2), '{\n  "a": [\n    1\n  ]\n}');
  });
});

describe('lines', () => {
  async function* feed(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
    for (const chunk of chunks) yield await Promise.resolve(chunk);
  }
  const split = async (chunks: readonly Uint8Array[], maxBytes = 1000) => {
    const lines: Line[] = [];
    for await (const line of splitLines(feed(chunks), maxBytes)) lines.push(line);
    return lines;
  };

  it('do not depend on how the bytes come', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'grapheme' })), fc.array(fc.nat({ max: 60 })), async (texts, cuts) => {
        const lines = texts.map((t) => t.replaceAll(/[\r\n]/g, ''));
        const bytes = Buffer.from(lines.map((l) => `${l}\n`).join(''));
        const chunks: Uint8Array[] = [];
        let at = 0;
        for (const cut of cuts) chunks.push(bytes.subarray(at, (at += cut)));
        chunks.push(bytes.subarray(at));
        assert.deepEqual(
          (await split(chunks, 1 << 20)).map((l) => l.text),
          lines.map((l) => Buffer.from(l).toString()),
        );
      }),
    );
  });

  it('may lack the last newline, and lose their carriage return', async () => {
    assert.deepEqual(
      await split([Buffer.from('a\r\n\nb')]),
      ['a', '', 'b'].map((text) => ({ text, isCut: false })),
    );
    assert.deepEqual(await split([]), []);
  });

  it('are cut at the limit, and only those that are too long', async () => {
    const x = (n: number) => Buffer.from('x'.repeat(n));
    assert.deepEqual(await split([x(3), x(4), Buffer.from('\nyy\n'), x(5), Buffer.from('\n')], 5), [
      { text: 'xxxxx', isCut: true },
      { text: 'yy', isCut: false },
      { text: 'xxxxx', isCut: false },
    ]);
  });
});

describe('selectors', () => {
  const web = { app: 'web', 'app.kubernetes.io/part-of': 'shop' };
  const cases: readonly [selector: string, matches: boolean][] = [
    ['', true],
    ['app=web', true],
    ['app==web', true],
    ['app = web', true],
    ['app!=web', false],
    ['app=db', false],
    ['tier!=db', true],
    ['app in (db, web)', true],
    ['app in (db)', false],
    ['app notin (db),app', true],
    ['tier notin (db)', true],
    ['!tier', true],
    ['!app', false],
    ['tier', false],
    ['app.kubernetes.io/part-of=shop,app=web', true],
    ['app.kubernetes.io/part-of in (shop,x),app in (a,b)', false],
  ];
  for (const [selector, matches] of cases) {
    it(`"${selector}" ${matches ? 'matches' : 'does not match'}`, () => {
      assert.equal(labelMatcher(selector)(web), matches);
    });
  }

  it('match objects without labels', () => {
    assert.equal(labelMatcher('app!=web')(undefined), true);
    assert.equal(labelMatcher('app')(undefined), false);
  });

  it('are refused when they make no sense', () => {
    for (const selector of ['a=b=c', 'app in web', '(', 'app in (a', 'a b']) {
      assert.throws(
        () => labelMatcher(selector),
        (e) => DmaasError.is(e, 'CLUSTER_REJECTED'),
        selector,
      );
    }
  });

  it('read fields', () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', namespace: 'n' }, spec: { nodeName: 'node-1', hostNetwork: true } };
    assert.equal(fieldMatcher('metadata.name=a,spec.nodeName=node-1')(pod), true);
    assert.equal(fieldMatcher('metadata.name!=a')(pod), false);
    assert.equal(fieldMatcher('status.phase=')(pod), true);
    assert.equal(fieldMatcher('spec.hostNetwork=true')(pod), true);
    assert.throws(
      () => fieldMatcher('metadata.name'),
      (e) => DmaasError.is(e, 'CLUSTER_REJECTED'),
    );
  });
});
