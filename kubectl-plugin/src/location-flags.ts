import type { Flag } from './command.ts';
import { completeLocations } from './commands/location.ts';

/** Where backups are kept. */
export const LOCATION_FLAGS: readonly Flag[] = [
  {
    name: 'location',
    type: 'string',
    value: 'NAME',
    describe: 'Location of the backups; default is the namespace’s default one',
    complete: completeLocations,
  },
  {
    name: 'location-file',
    type: 'string',
    value: 'FILE',
    describe: 'A location as "location export" wrote it; needs no Secret in any cluster',
  },
];

/** How movers run. */
export const MOVER_FLAGS: readonly Flag[] = [
  {
    name: 'mover-image',
    type: 'string',
    value: 'IMAGE',
    describe: 'Image of the movers. Default: $DMAAS_MOVER_IMAGE, else that of this version',
  },
  { name: 'max-movers', type: 'string', value: 'N', describe: 'How many volumes move at a time (default 4)' },
];
