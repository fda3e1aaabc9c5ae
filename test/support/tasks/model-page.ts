/** Writes test/model/README.md: the worlds of the model of garbage collection, what was explored of each, and what goes wrong without each rule. With `checkOnly` it only says whether it is up to date. */
import { join } from 'node:path';
import { EXPLORED, SAFEGUARDS, WORLDS, type World } from '../../model/check.ts';
import { writeGenerated } from './generated.ts';

const PAGE = join(import.meta.dirname, '../../model/README.md');

export function writeModelPage(checkOnly: boolean): Promise<boolean> {
  return writeGenerated(PAGE, modelPage(), checkOnly);
}

function modelPage(): string {
  const worlds = (Object.keys(WORLDS) as World[]).map((world) => {
    const { WRITERS, COLLECTORS, ROUNDS, MERGERS = 0, LISTS, PACKS } = WORLDS[world] as Readonly<Record<string, number>>;
    const { states, isComplete } = EXPLORED.worlds[world];
    const explored = `${states.toLocaleString('en-US').replaceAll(',', ' ')}${isComplete ? ', all there are' : ', not all there are'}`;
    return `| ${[world, WRITERS, COLLECTORS, ROUNDS, MERGERS, LISTS, PACKS, explored].join(' | ')} |`;
  });
  return [
    '# The model of garbage collection',
    '',
    'Generated from [check.ts](check.ts) (`node test/support/tasks/docs.ts`).',
    '',
    '[collection.pml](collection.pml) is the protocol of [core/DESIGN.md](../../core/DESIGN.md), section 7, for one blob, in the language of spin: writers that rely on the blob or store it, a deleter, collectors and merges of the index, of',
    'which each may stand still before any of its requests, for ever or until all else is done. The property: whatever a record reaches lies in a pack that is there and that the index finds, in every state.',
    '',
    `Explored on ${EXPLORED.at} by \`npm run test:long -- test/long/collection-model.test.ts\`, ${EXPLORED.minutes} minutes a world at most, with a hash of 34 bits in the place of each state, so that a few may be passed over. No state was found in which anything is lost.`,
    'The same properties run against the code itself, on a simulated store: [property/collection.test.ts](../property/collection.test.ts).',
    '',
    '| world | writers | collectors | rounds | merges | lists | packs | states |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...worlds,
    '',
    'Without any one of its rules the model loses something, in the smallest world that shows it ([property/collection-model.test.ts](../property/collection-model.test.ts), in `npm test`):',
    '',
    '| the rule | what spin finds without it | world |',
    '| --- | --- | --- |',
    ...SAFEGUARDS.map(({ without, bug, world }) => `| ${without} | ${bug} | ${world} |`),
    '',
  ].join('\n');
}
