// The front end of the demo application: keeps uploaded files in a volume and says which database it belongs to.
//   GET /            the title, the database's host and the uploaded files, as JSON
//   GET /healthz     200 once files can be stored
//   PUT /files/NAME  stores a file; GET and DELETE /files/NAME
// Settings: UPLOADS_DIR (/uploads), CONFIG_FILE (/config/site.json), DB_HOST, PORT (8080).
import { createReadStream, createWriteStream } from 'node:fs';
import { access, constants, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { URL } from 'node:url';

const uploads = process.env.UPLOADS_DIR ?? '/uploads';
const configFile = process.env.CONFIG_FILE ?? '/config/site.json';
const port = Number(process.env.PORT ?? 8080);

async function overview() {
  const config = JSON.parse(await readFile(configFile, 'utf8'));
  const files = (await readdir(uploads)).filter((name) => !name.startsWith('.') && name !== 'lost+found').sort();
  return { title: config.title, database: process.env.DB_HOST ?? null, files };
}

async function handle(request, response) {
  const { pathname } = new URL(request.url, 'http://localhost');
  const name = /^\/files\/([\w-][\w.-]{0,100})$/.exec(pathname)?.[1];
  const route = `${request.method} ${name === undefined ? pathname : '/files/'}`;
  const path = name === undefined ? undefined : join(uploads, name);
  switch (route) {
    case 'GET /':
      response.setHeader('content-type', 'application/json').end(`${JSON.stringify(await overview())}\n`);
      return;
    case 'GET /healthz':
      await access(uploads, constants.W_OK);
      response.end('ok\n');
      return;
    case 'PUT /files/':
      await pipeline(request, createWriteStream(join(uploads, `.${name}.new`), { flush: true }));
      await rename(join(uploads, `.${name}.new`), path);
      response.writeHead(201).end();
      return;
    case 'GET /files/':
      response.setHeader('content-length', (await stat(path)).size);
      await pipeline(createReadStream(path), response);
      return;
    case 'DELETE /files/':
      await rm(path);
      response.writeHead(204).end();
      return;
    default:
      response.writeHead(404).end('no such page\n');
  }
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(`${request.method} ${request.url}: ${error.message}`);
    if (response.headersSent) response.destroy();
    else response.writeHead(error.code === 'ENOENT' ? 404 : 500).end();
  });
});
server.listen(port, () => console.log(`listening on ${port}, files in ${uploads}`));
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => server.close().closeAllConnections());
