import { CONTAINER_USER } from './container.ts';
import { type DebianImage, debianLayer, unpacked } from './images/debian.ts';

/** A real database server and how a test talks to it. All scripts run in its container, whose volume is at /mnt. */
export interface Database {
  readonly name: string;
  readonly recipe: string;
  /** The files of its image. */
  readonly root: () => Promise<string>;
  readonly env: Readonly<Record<string, string>>;
  /** Fills the volume if it is empty, then becomes the server. */
  readonly serve: string;
  readonly ready: string;
  /** Makes what the writer writes to. */
  readonly prepare: string;
  /** Writes one number after the other and says each when the server has said that it is written. */
  readonly write: string;
  /** Says which numbers are there, by all ways of telling. */
  readonly last: string;
  /** Fails unless all that is stored is sound. */
  readonly check: string;
  /** In the log of a server that finds its data damaged. */
  readonly damage: RegExp;
  /** Takes the lock from whoever holds it, behind his back; absent when nobody can. */
  readonly breakIn?: string;
  /** Says `busy` and for a minute keeps others from getting the lock; absent when nothing does. */
  readonly occupy?: string;
  /** Whether the lock ends with the processes that hold it, and not only when the limit is over. */
  readonly endsWithHolder: boolean;
}

const users = { database: CONTAINER_USER };
const PASSWORD = 'it is a "secret"';

/** Debian 12 with both. */
export const MARIADB_AND_REDIS: DebianImage = {
  name: 'databases',
  packages: ['mariadb-server-core', 'mariadb-client-core', 'redis-server'],
  users,
};

/** Its files. */
export async function bookworm(): Promise<string> {
  return unpacked('databases', await debianLayer(MARIADB_AND_REDIS));
}

/** MySQL itself is in Debian's unstable suite only. */
async function sid(): Promise<string> {
  const packages = ['mysql-server-core', 'mysql-client-core'];
  // A mirror that lags behind serves an index whose date has passed; it is signed nevertheless.
  const options = ['--aptopt=Acquire::Check-Valid-Until "false"'];
  return unpacked('mysql', await debianLayer({ name: 'mysql', suite: 'sid', packages, users, options }));
}

interface MysqlServer {
  readonly client: string;
  readonly env: Readonly<Record<string, string>>;
  /** Makes the system tables in /mnt/new. */
  readonly install: string;
  readonly server: string;
}

/** One table of an engine with transactions, one of an engine without, whose files are whole only while it is closed, and one that is left alone. */
function mysql(name: string, root: Database['root'], { client, env, install, server }: MysqlServer): Database {
  const session = `MYSQL_PWD="$SECRET" ${client} -N -B --unbuffered -u root`;
  const sql = (statements: string) => `${session} -e "${statements}"`;
  return {
    ...{ name, root, recipe: 'mysql', env: { ...env, SECRET: PASSWORD } },
    serve: `
mkdir -p /run/mysqld
if [ ! -d /mnt/db ]; then ${install} >&2 && mv /mnt/new /mnt/db || exit 1; fi
echo "ALTER USER root@localhost IDENTIFIED BY '$SECRET';" >/tmp/init.sql
exec ${server} --datadir=/mnt/db --socket=/run/mysqld/mysqld.sock --pid-file=/run/mysqld/pid --init-file=/tmp/init.sql --innodb-flush-log-at-trx-commit=2`,
    ready: sql('SELECT 1'),
    prepare: sql(
      ['a (n INT PRIMARY KEY) ENGINE=InnoDB', 'b (n INT PRIMARY KEY) ENGINE=MyISAM', 'c (n INT PRIMARY KEY) ENGINE=InnoDB']
        .map((table) => `CREATE TABLE shop.${table};`)
        .join(' ')
        .replace(/^/, 'CREATE DATABASE shop; '),
    ),
    write: `n=0; while :; do n=$((n + 1)); echo "INSERT INTO a VALUES ($n); INSERT INTO b VALUES ($n); SELECT $n;"; done | ${session} shop`,
    last: sql('SELECT COUNT(*), MAX(n) FROM shop.a; SELECT COUNT(*), MAX(n) FROM shop.b'),
    check: `said="$(${sql('CHECK TABLE shop.a, shop.b EXTENDED')})" && echo "$said" && ! echo "$said" | grep -qv 'status.OK$'`,
    damage: /\[ERROR\]|crashed|corrupt/i,
    breakIn: `kill="$(${sql("SELECT CONCAT('KILL ', id) FROM information_schema.processlist WHERE command = 'Sleep'")})" && ${session} -e "$kill"`,
    occupy: `{ echo "LOCK TABLES shop.c WRITE; SELECT 'busy';"; sleep 60; } | ${session}`,
    endsWithHolder: true,
  };
}

function redis(name: string, flags: string): Database {
  const cli = 'redis-cli --no-auth-warning';
  return {
    ...{ name, recipe: 'redis', root: bookworm, env: { REDIS_PASSWORD: PASSWORD, REDISCLI_AUTH: PASSWORD } },
    serve: `exec redis-server --dir /mnt --requirepass "$REDIS_PASSWORD" ${flags}`,
    ready: `[ "$(${cli} ping)" = PONG ]`,
    prepare: `${cli} set n 0`,
    write: `while :; do echo 'INCR n'; done | ${cli}`,
    last: `${cli} get n`,
    check: `[ "$(${cli} incr n)" -gt 1 ]`,
    damage: /bad file|short read|corrupt|error/i,
    endsWithHolder: false,
  };
}

export const MARIADB = mysql('MariaDB', bookworm, {
  client: 'mariadb',
  env: { MARIADB_ROOT_PASSWORD: PASSWORD },
  install: 'mariadb-install-db --force --auth-root-authentication-method=normal --skip-test-db --datadir=/mnt/new',
  server: 'mariadbd --bind-address=127.0.0.1',
});

export const MYSQL = mysql('MySQL', sid, {
  client: 'mysql',
  env: { MYSQL_ROOT_PASSWORD: PASSWORD },
  install: 'mysqld --no-defaults --initialize-insecure --datadir=/mnt/new',
  server: 'mysqld --no-defaults --mysqlx=OFF --secure-file-priv=NULL',
});

export const REDIS = redis('Redis', '--appendonly no');
export const REDIS_APPENDING = redis('Redis with an append-only file', '--appendonly yes --save ""');
