import { DmaasError, parseCredentialValues, type CredentialValues, type LocationDocument } from '@dmaas/core';
import { readTextFile } from './read-text-file.ts';

/** The access keys for an exported location that holds none, from the variables that the clouds' own tools use. */
export async function credentialFromEnvironment(document: LocationDocument, env: NodeJS.ProcessEnv): Promise<CredentialValues> {
  const { title: _title, ...open } = document.credential;
  if (open.kind === 'gcp') {
    const file = env['GOOGLE_APPLICATION_CREDENTIALS'];
    if (file === undefined) throw missing(document, 'GOOGLE_APPLICATION_CREDENTIALS');
    return parseCredentialValues({ ...open, serviceAccount: await readTextFile(file) });
  }
  const accessKeyId = env['AWS_ACCESS_KEY_ID'];
  const secretAccessKey = env['AWS_SECRET_ACCESS_KEY'];
  if (accessKeyId === undefined || secretAccessKey === undefined) throw missing(document, 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY');
  const sessionToken = open.kind === 'aws' && env['AWS_SESSION_TOKEN'];
  return parseCredentialValues({ ...open, accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) });
}

function missing(document: LocationDocument, variables: string): DmaasError {
  return new DmaasError(
    'USAGE',
    `the exported location ${document.name} holds no access keys, and ${variables} ${variables.includes(' ') ? 'are' : 'is'} not set`,
    {
      hint: `set ${variables}, or export with --with-credentials`,
    },
  );
}
