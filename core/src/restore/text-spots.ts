import { isMap, isScalar, isSeq, parseDocument } from 'yaml';
import type { Node } from 'yaml';
import { containersOf, kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { at, listAt, mapAt, recordAt, stringAt } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';
import { POD_PATHS } from './pods.ts';

/** One value in free text, and where it stands. */
export interface TextSpot {
  /** Of the field that holds the text, in the object: keys and list indexes. */
  readonly field: readonly string[];
  /** The text is base64. */
  readonly isEncoded: boolean;
  /** For people: `env DB_HOST`, `key app.yaml: database.host`. */
  readonly where: string;
  /** The name of the value, as far as it has one: `DB_HOST`, `host`. */
  readonly name: string;
  readonly value: string;
  /** Of the value, in the (decoded) text. */
  readonly offset: number;
}

/** All free text of an object in which names of the old place can stand: environment, arguments, ConfigMaps, Secrets, annotations of Ingresses. */
export function textSpots(object: KubeObject): readonly TextSpot[] {
  const id = kindId(object);
  const fields: { readonly field: readonly string[]; readonly text: string; readonly isEncoded: boolean }[] = [];
  if (id === 'ConfigMap')
    for (const [key, text] of Object.entries(mapAt(object, 'data'))) fields.push({ field: ['data', key], text, isEncoded: false });
  if (id === 'Secret' && object['type'] !== 'helm.sh/release.v1' && object['type'] !== 'kubernetes.io/tls') {
    for (const [key, text] of Object.entries(mapAt(object, 'stringData')))
      fields.push({ field: ['stringData', key], text, isEncoded: false });
    for (const [key, value] of Object.entries(recordAt(object, 'data'))) {
      const text = typeof value === 'string' ? decodedText(value) : undefined;
      if (text !== undefined) fields.push({ field: ['data', key], text, isEncoded: true });
    }
  }
  const structured = fields.flatMap(({ field, text, isEncoded }) =>
    valuesIn(text).map(({ path, value, offset }) => ({
      field,
      isEncoded,
      where: `key ${field[1] ?? ''}${path === '' ? '' : `: ${path}`}`,
      name: path === '' ? (field[1] ?? '') : (path.split('.').at(-1) ?? ''),
      value,
      offset,
    })),
  );
  return [...structured, ...podSpots(object)];
}

function podSpots(object: KubeObject): readonly TextSpot[] {
  const base = POD_PATHS[kindId(object)];
  const spec = podTemplateOf(object)?.spec;
  if (base === undefined || spec === undefined || containersOf(spec).length === 0) return [];
  return ['initContainers', 'containers'].flatMap((list) =>
    listAt(spec, list).flatMap((container, i) => {
      const field = [...base, 'spec', list, String(i)];
      const spot = (path: readonly string[], where: string, name: string, value: unknown): TextSpot[] =>
        typeof value === 'string' ? [{ field: [...field, ...path], isEncoded: false, where, name, value, offset: 0 }] : [];
      const called = stringAt(container, 'name') ?? '';
      const env = listAt(container, 'env').flatMap((each, j) => {
        const name = stringAt(each, 'name') ?? '';
        return spot(['env', String(j), 'value'], `env ${name}`, name, each['value']);
      });
      const words = ['command', 'args'].flatMap((part) => {
        const list2 = at(container, part);
        return Array.isArray(list2) ? list2.flatMap((word, j) => spot([part, String(j)], `${part} of container ${called}`, '', word)) : [];
      });
      return [...env, ...words];
    }),
  );
}

/** Text of base64; undefined when it is not text. */
export function decodedText(value: string): string | undefined {
  const bytes = Buffer.from(value, 'base64');
  const text = bytes.toString('utf8');
  return text.includes('\uFFFD') || text.includes('\0') ? undefined : text;
}

interface Value {
  /** `database.hosts.0`; '' when the text is one value. */
  readonly path: string;
  readonly value: string;
  readonly offset: number;
}

/** Larger texts are no configuration; to parse them would take long. */
const MAX_PARSED = 256 << 10;

/** The values in a text of YAML, JSON, properties or INI; lines of anything else. */
export function valuesIn(text: string): readonly Value[] {
  const looksStructured = text.length <= MAX_PARSED && /^\s*[{[]|^\s*(- |["'\w./-]+\s*:(\s|$))/m.test(text);
  const structured = looksStructured ? fromYaml(text) : undefined;
  return structured ?? fromLines(text);
}

/** JSON is YAML. Undefined when the text is neither, or only by accident. */
function fromYaml(text: string): readonly Value[] | undefined {
  let root: Node | null;
  try {
    const document = parseDocument(text, { logLevel: 'silent', uniqueKeys: false });
    if (document.errors.length > 0) return undefined;
    root = document.contents;
  } catch {
    return undefined;
  }
  if (!isMap(root) && !isSeq(root)) return undefined;
  const values: Value[] = [];
  const visit = (node: unknown, path: readonly string[]): void => {
    if (isMap(node)) for (const { key, value } of node.items) visit(value, [...path, isScalar(key) ? String(key.value) : '?']);
    else if (isSeq(node))
      node.items.forEach((item, i) => {
        visit(item, [...path, String(i)]);
      });
    else if (isScalar(node) && typeof node.value === 'string' && node.range != null) {
      const [start, end] = node.range;
      // As it is written, so that an edit keeps quotes and everything around.
      values.push({ path: path.join('.'), value: text.slice(start, end), offset: start });
    }
  };
  visit(root, []);
  return values;
}

function fromLines(text: string): readonly Value[] {
  const values: Value[] = [];
  let offset = 0;
  for (const line of text.split('\n')) {
    const [whole = '', name = '', value = ''] = /^\s*(?:export\s+)?([\w.-]+)\s*[=:]\s*(.*)$/.exec(line) ?? [];
    const isPair = whole !== '' && !value.startsWith('//');
    values.push(isPair ? { path: name, value, offset: offset + line.length - value.length } : { path: '', value: line, offset });
    offset += line.length + 1;
  }
  return values;
}
