import manifest from '../package.json' with { type: 'json' };

/** Of DMaaS: the client, the mover image's tag and the tool named in backup records are always the same. */
export const VERSION: string = manifest.version;
