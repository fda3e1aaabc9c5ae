// Serves an admission webhook on port 8443 with the certificate in /tls: refuses what bears the label corpus.example/forbidden.
import { Buffer } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

const tls = { key: readFileSync('/tls/tls.key'), cert: readFileSync('/tls/tls.crt') };
createServer(tls, (request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    if (request.method === 'GET') return response.end();
    const { uid, object } = JSON.parse(Buffer.concat(chunks).toString()).request;
    const allowed = object.metadata.labels?.['corpus.example/forbidden'] === undefined;
    const answer = { uid, allowed, ...(allowed ? {} : { status: { message: 'the guard forbids it' } }) };
    response.end(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }));
  });
}).listen(8443);
process.on('SIGTERM', () => process.exit());
