import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Args } from '../../kubectl-plugin/src/args.ts';
import { formatAge, formatBytes, formatDuration, plural } from '../../core/src/format.ts';
import { renderer, table, type Result } from '../../kubectl-plugin/src/output.ts';
import { callPlugin } from '../support/plugin-call.ts';

describe('what the command line prints', () => {
  it('writes sizes as Kubernetes does', () => {
    const cases: [number, string][] = [
      [0, '0'],
      [1023, '1023'],
      [1024, '1Ki'],
      [1536, '1.5Ki'],
      [150 * 1024, '150Ki'],
      [38 * 2 ** 30, '38Gi'],
      [1.25 * 2 ** 40, '1.3Ti'],
    ];
    for (const [bytes, text] of cases) assert.equal(formatBytes(bytes), text);
  });

  it('writes times as kubectl does', () => {
    const s = 1000;
    const cases: [number, string][] = [
      [0, '0s'],
      [119 * s, '119s'],
      [120 * s, '2m'],
      [150 * s, '2m30s'],
      [45 * 60 * s, '45m'],
      [3 * 3600 * s, '3h'],
      [5 * 3600 * s + 180 * s, '5h3m'],
      [47 * 3600 * s, '47h'],
      [49 * 3600 * s, '2d1h'],
      [30 * 86400 * s, '30d'],
    ];
    for (const [ms, text] of cases) assert.equal(formatDuration(ms), text);
    assert.equal(formatAge(undefined, new Date()), '<unknown>');
    assert.equal(formatAge('2026-01-01T00:00:00Z', new Date('2026-01-01T00:01:05Z')), '65s');
    assert.equal(plural(1, 'volume'), '1 volume');
    assert.equal(plural(0, 'volume'), '0 volumes');
  });

  const render = (shown: Result, ...how: Parameters<typeof renderer>) => renderer(...how)(shown);
  const result = {
    data: { items: [{ name: 'a', labels: { x: '1' } }, { name: 'b' }] },
    names: ['thing/a', 'thing/b'],
    text: table(
      [
        { name: 'a', note: 'first' },
        { name: 'bcd', note: '' },
      ],
      [
        { title: 'NAME', cell: (t) => t.name },
        { title: 'NOTE', cell: (t) => t.note },
        { title: 'WIDE', cell: () => 'w', wide: true },
      ],
    ),
  };

  it('aligns tables without lines or colours, and leaves no spaces at the ends', () => {
    assert.equal(render(result, undefined, false), 'NAME   NOTE\na      first\nbcd\n');
    assert.equal(render(result, 'wide', true), 'a     first   w\nbcd           w\n');
  });

  it('prints json, yaml, names and jsonpath', () => {
    assert.deepEqual(JSON.parse(render(result, 'json', false)), result.data);
    assert.match(render(result, 'yaml', false), /^items:\n {2}- name: a\n/);
    assert.equal(render(result, 'name', false), 'thing/a\nthing/b\n');
    assert.equal(render(result, 'jsonpath={.items[*].name}', false), 'a b\n');
    assert.equal(render(result, 'jsonpath=n={.items[0].labels.x}{"\\n"}', false), 'n=1\n');
    assert.throws(() => renderer('xml', false), { code: 'USAGE', message: 'there is no output format "xml"' });
  });

  it('repeats what is in a range, as kubectl does', () => {
    const jsonpath = (template: string) => render(result, `jsonpath=${template}`, false);
    assert.equal(jsonpath('{range .items[*]}{.name}{"\\n"}{end}'), 'a\nb\n');
    assert.equal(jsonpath('[{range .items[*]}<{.name}:{range @.labels.*}{@}{end}>{end}]'), '[<a:1><b:>]\n');
    for (const [template, message] of [
      ['{range .items[*]}{.name}', /{range} has no {end}/],
      ['{.name}{end}', /{end} ends no {range}/],
      ['{.items[*].name', /"{\.items\[\*\]\.name" has a brace without the other/],
      ['{.items[?(@.name=="a")]}', /filters are not evaluated/],
      ['{}', /{} is no path/],
    ] as const)
      assert.throws(() => renderer(`jsonpath=${template}`, false), { code: 'USAGE', message }, template);
  });

  it('is checked before anything is done', async () => {
    const home = mkdtempSync(join(tmpdir(), 'dmaas-output-'));
    for (const output of ['josn', 'jsonpath={range .items[*]}']) {
      const where = ['--repository', `file://${home}/repository`, '--key-file', `${home}/key`];
      const { code, stdout, stderr } = await callPlugin(['repository', 'init', ...where, '-o', output]);
      assert.deepEqual([code, stdout, readdirSync(home)], [2, '', []], stderr);
    }
    rmSync(home, { recursive: true });
  });
});

describe('values on the command line', () => {
  it('reads durations', () => {
    const read = (t: string) => new Args({ t }).duration('t');
    assert.equal(read('90s'), 90_000);
    assert.equal(read('1h30m'), 5_400_000);
    assert.equal(read('1.5m'), 90_000);
    for (const bad of ['', '10', 'm', '5 m', '1h30', '-5s']) assert.throws(() => read(bad), { code: 'USAGE' }, bad);
  });

  it('reads pairs and lists', () => {
    assert.deepEqual(new Args({ m: ['a=b', 'c=d,e=f'] }).map('m'), { a: 'b', c: 'd', e: 'f' });
    for (const bad of ['a', '=b', 'a=']) assert.throws(() => new Args({ m: [bad] }).map('m'), { code: 'USAGE' });
    assert.deepEqual(new Args({ l: ['a,b', 'c'] }).list('l'), ['a', 'b', 'c']);
    assert.deepEqual(new Args({}).list('l'), []);
  });

  it('refuses a flag given twice and one that is missing', () => {
    assert.throws(() => new Args({ x: ['1', '2'] }).string('x'), { message: '--x is given more than once' });
    assert.throws(() => new Args({}).need('bucket'), { message: '--bucket is missing' });
    assert.throws(() => new Args({}).need('NAME'), { message: 'NAME is missing' });
  });
});
