import type { Flag } from './command.ts';

/** How the server of a URL is reached. */
export const STORE_FLAGS: readonly Flag[] = [
  {
    name: 'endpoint',
    type: 'string',
    value: 'URL',
    describe: 'Server to use instead of AWS or Google. Default: $AWS_ENDPOINT_URL, $STORAGE_EMULATOR_HOST',
  },
  { name: 'region', type: 'string', value: 'NAME', describe: 'Region of the bucket. Default: $AWS_REGION' },
  { name: 'path-style', type: 'boolean', describe: 'The bucket in the path of the URL; so by default wherever there is an endpoint' },
  { name: 'ca-file', type: 'string', value: 'FILE', describe: 'Certificates (PEM) to trust besides the system’s' },
];

/** A repository that needs no cluster. */
export const REPOSITORY_FLAGS: readonly Flag[] = [
  {
    name: 'repository',
    type: 'string',
    value: 'URL',
    describe:
      's3://BUCKET[/PREFIX], gs://BUCKET[/PREFIX] or file:///DIRECTORY. Access keys come from where the providers’ own tools take them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, profiles, the machine’s identity',
  },
  { name: 'key-file', type: 'string', value: 'FILE', describe: 'The file that holds the repository’s key, or a recovery key' },
  {
    name: 'passphrase-file',
    type: 'string',
    value: 'FILE',
    describe: 'A file that holds a passphrase which opens the repository; - asks for it',
  },
  ...STORE_FLAGS,
];
