import type { Finding, KubeObject } from '../model.ts';
import { mapObject } from './mapping.ts';
import type { Mapping } from './mapping.ts';
import type { RestoreOptions } from './model.ts';
import { sameJson } from './rewrite.ts';
import { textSpots } from './text-spots.ts';
import { mapHost } from './value-maps.ts';
import type { ValueMaps } from './value-maps.ts';

/** No backup has it, so whatever is mapped to it is changed. */
const PROBE = 'probe.invalid';

/** A mapping of the operator's, as its flag, alone and to what nothing is called. */
interface Asked {
  readonly flag: string;
  readonly probe: Pick<Mapping, 'storageClasses' | 'values'>;
}

/** Mappings that concern nothing of what is restored, which is mostly a slip of the pen. `objects` are scrubbed, as they were captured. Pure. */
export function unusedMappings(objects: readonly KubeObject[], options: RestoreOptions): readonly Finding[] {
  const asked = mappingsOf(options);
  return asked
    .filter(({ probe }) => {
      const map = { from: '', to: '', ...probe };
      return !objects.some((o) => !sameJson(mapObject(o, map).object, o) || namesHost(o, probe.values?.hosts));
    })
    .map(({ flag }) => ({
      level: 'warning',
      code: 'mapping-unused',
      message: `${flag} concerns nothing that is restored`,
      hint: 'what is replaced is named as the backup has it: "kubectl dmaas backup describe" and "backup browse" show it',
    }));
}

/** Hosts are mapped in free text too, where that is asked for. */
function namesHost(object: KubeObject, hosts: ValueMaps['hosts']): boolean {
  if (hosts === undefined) return false;
  const map = mapHost(hosts);
  return textSpots(object).some(({ value }) => value.split(/[^a-z0-9.-]+/i).some((word) => map(word.toLowerCase()) !== word.toLowerCase()));
}

function mappingsOf({ storageClassMap = {}, values = {} }: RestoreOptions): readonly Asked[] {
  const pairs = (flag: string, map: Readonly<Record<string, string>> = {}, probe: (from: string) => Asked['probe']): readonly Asked[] =>
    Object.entries(map).map(([from, to]) => ({ flag: `--${flag} ${from}=${to}`, probe: probe(from) }));
  const valued = (maps: ValueMaps): Asked['probe'] => ({ storageClasses: {}, values: maps });
  return [
    ...pairs('map-storage-class', storageClassMap, (from) => ({ storageClasses: { [from]: PROBE } })),
    ...pairs('map-size', values.claimSizes, (from) => valued({ claimSizes: { [from]: PROBE } })),
    ...pairs('map-access-mode', values.accessModes, (from) => valued({ accessModes: { [from]: PROBE } })),
    ...pairs('map-image', values.images, (from) => valued({ images: { [from]: PROBE } })),
    ...pairs('map-host', values.hosts, (from) => valued({ hosts: { [from]: from.startsWith('*.') ? `*.${PROBE}` : PROBE } })),
    ...(values.nodeSelectors ?? []).map(({ from, to }) => ({
      flag: `--map-node-selector ${from.join('=')}:${to === undefined ? '' : to.join('=')}`,
      probe: valued({ nodeSelectors: [{ from }] }),
    })),
    ...(values.labels ?? []).map(({ from, to }) => ({
      flag: `--map-label ${from.join('=')}:${to.join('=')}`,
      probe: valued({ labels: [{ from, to: [PROBE, PROBE] as const }] }),
    })),
  ];
}
