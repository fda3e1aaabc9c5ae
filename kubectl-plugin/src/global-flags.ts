import type { Flag } from './command.ts';

/** kubectl's global flags, with kubectl's meaning. kubectl does not pass flags in front of a plugin's name on, so each is ours to honour. */
export const GLOBAL_FLAGS: readonly Flag[] = [
  { name: 'kubeconfig', type: 'string', value: 'FILE', describe: 'Path of the kubeconfig file' },
  { name: 'context', type: 'string', value: 'NAME', describe: 'Context of the kubeconfig' },
  { name: 'cluster', type: 'string', value: 'NAME', describe: 'Cluster of the kubeconfig' },
  { name: 'user', type: 'string', value: 'NAME', describe: 'User of the kubeconfig' },
  { name: 'namespace', short: 'n', type: 'string', value: 'NAME', describe: 'Namespace; default is that of the context' },
  { name: 'server', short: 's', type: 'string', value: 'URL', describe: 'Address of the API server' },
  { name: 'as', type: 'string', value: 'USER', describe: 'User to impersonate' },
  { name: 'as-group', type: 'list', value: 'GROUP', describe: 'Group to impersonate; can be repeated' },
  { name: 'as-uid', type: 'string', value: 'UID', describe: 'UID to impersonate' },
  { name: 'token', type: 'string', value: 'TOKEN', describe: 'Bearer token for the API server' },
  { name: 'certificate-authority', type: 'string', value: 'FILE', describe: 'Certificate of the API server’s authority' },
  { name: 'client-certificate', type: 'string', value: 'FILE', describe: 'Client certificate' },
  { name: 'client-key', type: 'string', value: 'FILE', describe: 'Client key' },
  { name: 'insecure-skip-tls-verify', type: 'boolean', describe: 'Do not check the API server’s certificate' },
  { name: 'tls-server-name', type: 'string', value: 'NAME', describe: 'Name in the API server’s certificate' },
  { name: 'request-timeout', type: 'string', value: 'DURATION', describe: 'Longest time for one request, e.g. 30s' },
  {
    name: 'home-namespace',
    type: 'string',
    value: 'NAME',
    default: 'dmaas',
    describe: 'Where locations and credentials for all namespaces are kept',
  },
  { name: 'verbosity', short: 'v', type: 'string', value: 'N', describe: 'Log level; 8 shows stack traces' },
  { name: 'color', type: 'string', choices: ['auto', 'always', 'never'], default: 'auto', describe: 'Colours in messages' },
  {
    name: 'log-format',
    type: 'string',
    choices: ['text', 'json'],
    default: 'text',
    describe: 'Progress on stderr as text or as one JSON event per line',
  },
];

/** Flags of every command that returns data. */
export const OUTPUT_FLAGS: readonly Flag[] = [
  { name: 'output', short: 'o', type: 'string', value: 'FORMAT', describe: 'json, yaml, name, wide or jsonpath=TEMPLATE' },
  { name: 'no-headers', type: 'boolean', describe: 'Tables without a headline' },
];
