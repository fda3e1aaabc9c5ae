// A small operator, as those of databases and of GitOps are: makes what the custom resources of its namespace ask for in `spec.objects`, and keeps
// it running. $KINDS names the kinds of resources, each with whether it owns what it makes: `GROUP/VERSION/PLURAL=owner,…`.
import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const { KINDS, KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
const namespace = readFileSync(`${ACCOUNT}/namespace`, 'utf8');
const ca = readFileSync(`${ACCOUNT}/ca.crt`);

/** The answer, or undefined when there is no such object. */
function call(method, path, body) {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
  const headers = { authorization: `Bearer ${readFileSync(`${ACCOUNT}/token`, 'utf8')}`, 'content-type': type };
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, path, method, ca, headers }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (answer.statusCode === 404) resolve(undefined);
        else if (answer.statusCode > 299) reject(new Error(`${method} ${path}: ${text}`));
        else resolve(JSON.parse(text));
      });
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const pathOf = (apiVersion, plural) => `/${apiVersion.includes('/') ? 'apis' : 'api'}/${apiVersion}/namespaces/${namespace}/${plural}`;

/** What operators of that kind are told with. */
function isPaused({ metadata: { annotations = {} }, spec }) {
  return (
    spec.suspend === true ||
    annotations['cnpg.io/reconciliationLoop'] === 'disabled' ||
    annotations['argocd.argoproj.io/skip-reconcile'] === 'true'
  );
}

async function keep(object, owners) {
  const path = pathOf(object.apiVersion, `${object.kind.toLowerCase()}s`);
  const found = await call('GET', `${path}/${object.metadata.name}`);
  if (found === undefined) {
    const text = JSON.stringify({ ...object, metadata: { ...object.metadata, ...owners } });
    await call('POST', path, JSON.parse(text.replaceAll('$(random)', () => randomBytes(12).toString('hex'))));
  } else if (object.spec?.replicas !== undefined && found.spec.replicas !== object.spec.replicas) {
    await call('PATCH', `${path}/${object.metadata.name}`, { spec: { replicas: object.spec.replicas } });
  }
}

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit());
for (;;) {
  for (const entry of KINDS.split(',')) {
    const [, apiVersion, plural, , isOwner] = /^(.+)\/([^=]+)(=(owner))?$/.exec(entry);
    try {
      for (const resource of (await call('GET', pathOf(apiVersion, plural))).items) {
        if (isPaused(resource)) continue;
        const { kind, metadata } = resource;
        const owner = { apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true };
        for (const object of resource.spec.objects) await keep(object, isOwner ? { ownerReferences: [owner] } : {});
      }
    } catch (error) {
      console.error(error.message);
    }
  }
  await sleep(300);
}
