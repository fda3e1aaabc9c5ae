import { writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { ensurePrograms } from '../setup/debian.ts';
import { run } from '../setup/command.ts';

export interface Certificate {
  /** PEM files. */
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** Makes an authority and a certificate of it for a server at that address or name, for two days. */
export async function makeCertificate(dir: string, host: string): Promise<Certificate> {
  await ensurePrograms({ openssl: 'openssl' });
  const file = (name: string): string => join(dir, name);
  const newKey = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-days', '2'];
  const config = file('openssl.cnf');
  await writeFile(config, '[req]\ndistinguished_name = name\n[name]\n');
  const openssl = (...args: string[]): Promise<string> => run('openssl', args, { env: { OPENSSL_CONF: config } });
  await openssl(
    ...[...newKey, '-keyout', file('ca.key'), '-out', file('ca.crt'), '-subj', '/CN=DMaaS test authority'],
    ...['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign'],
  );
  await openssl(
    ...[...newKey, '-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-keyout', file('server.key'), '-out', file('server.crt')],
    ...['-subj', `/CN=${host}`, '-addext', `subjectAltName=${isIP(host) ? 'IP' : 'DNS'}:${host}`],
    ...['-addext', 'basicConstraints=critical,CA:FALSE', '-addext', 'extendedKeyUsage=serverAuth'],
  );
  return { caFile: file('ca.crt'), certFile: file('server.crt'), keyFile: file('server.key') };
}
