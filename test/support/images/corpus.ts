import { join } from 'node:path';
import { MARIADB_AND_REDIS } from '../databases.ts';
import { CONTAINER_USER } from '../container.ts';
import { debianLayer } from './debian.ts';
import { type Entry, makeLayer } from './layer.ts';
import { imageName } from './names.ts';
import { copyOf } from './node-layer.ts';
import { type Image, makeImage } from './oci.ts';

const here = (name: string, mode?: number): Entry => copyOf(join(import.meta.dirname, name), mode);
const PATH = '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** MariaDB that behaves as the official image does, as far as the tests need: see mariadb-entrypoint. */
async function mariadb(): Promise<Image> {
  const files = new Map<string, Entry>([
    ['/usr/local/bin/mariadb-entrypoint', here('mariadb-entrypoint', 0o755)],
    ['/run/mysqld', { type: 'directory', mode: 0o1777 }],
  ]);
  return makeImage(imageName('mariadb:10.11'), [await debianLayer(MARIADB_AND_REDIS), await makeLayer('mariadb', files)], {
    entrypoint: ['/usr/local/bin/mariadb-entrypoint'],
    env: { PATH },
    user: `${CONTAINER_USER}:${CONTAINER_USER}`,
  });
}

/** Redis, out of the same files. */
async function redis(): Promise<Image> {
  return makeImage(imageName('redis:7'), [await debianLayer(MARIADB_AND_REDIS)], {
    entrypoint: ['/usr/bin/redis-server'],
    env: { PATH },
    user: `${CONTAINER_USER}:${CONTAINER_USER}`,
  });
}

/** WordPress with Apache and PHP on port 8080; its database is $WORDPRESS_DB_HOST with $WORDPRESS_DB_PASSWORD. */
async function wordpress(): Promise<Image> {
  const debian = { name: 'wordpress', packages: ['wordpress', 'wordpress-theme-twentytwentythree', 'php-xml', 'curl'] };
  const files = new Map<string, Entry>([
    ['/etc/wordpress/apache.conf', here('wordpress.conf')],
    ['/etc/wordpress/config-default.php', here('wordpress-config.php')],
  ]);
  return makeImage(imageName('wordpress:6.1'), [await debianLayer(debian), await makeLayer('wordpress', files)], {
    entrypoint: ['/usr/sbin/apache2', '-D', 'FOREGROUND', '-f', '/etc/wordpress/apache.conf'],
    env: { PATH },
    user: '33:33',
  });
}

/** Images of the corpus besides those of all tests. */
export async function corpusImages(): Promise<Image[]> {
  return [await mariadb(), await redis(), await wordpress()];
}
