/** How a kind of database is made to stand still from inside its own container. */
export interface Recipe {
  readonly name: string;
  /** Of an image, its registry, tag and digest aside: `bitnami/postgresql`. */
  readonly images: RegExp;
  /** What it does, for plans. */
  readonly does: string;
  /** A shell script that locks, calls `locked`, then `hold`, then unlocks; a line `dmaas-held` of its output is a call of `locked` too. */
  readonly session: string;
}

/** Exit code of a freeze where no server answers: the container may be a client's, or the server is down, so that nothing writes. */
export const NOT_RUNNING = 69;

/** Exit code of a release that came too late: what was captured is not of one moment. */
export const EXPIRED = 75;

/** What clients say when nobody listens. */
const NO_SERVER = 'Connection refused|ECONNREFUSED|ERROR 200[23]|Is the server running';
const PLACES = '"${TMPDIR:-/tmp}" /tmp /dev/shm /var/tmp /run';

/**
 * The shell script that starts the session in the background and returns when it is locked, or fails with what it said.
 * The lease is in the container: the session ends by itself after the limit, also when nobody comes to release it. A client program that holds a lock by its
 * connection reads its statements as they come and is run by `client`, so that the end of either ends both.
 */
export function freezeScript({ session }: Recipe, operation: string, limitSeconds: number): string {
  return `
for base in ${PLACES}; do d="$base/.dmaas-freeze-${operation}"; [ -d "$d" ] && touch "$d/release" && sleep 1; rm -rf "$d" 2>/dev/null; done
for base in ${PLACES}; do d="$base/.dmaas-freeze-${operation}"; mkdir -p "$d" 2>/dev/null && break; done
[ -d "$d" ] || { echo "no writable directory" >&2; exit 1; }
export d
limit=${limitSeconds}
pause() { sleep 0.2 2>/dev/null || sleep 1; }
after() { [ "$(date +%s)" -ge "$1" ]; }
locked() { touch "$d/held"; }
hold() {
  end=$(( $(date +%s) + limit ))
  while [ ! -e "$d/release" ] && [ ! -e "$d/ended" ]; do
    if after "$end"; then touch "$d/expired"; return; fi
    pause
  done
}
client() { "$@"; code=$?; touch "$d/ended"; return "$code"; }
answers() { "$@" >/dev/null 2>"$d/err" </dev/null; }
nobody() { grep -qE "${NO_SERVER}" "$d/err" "$d/out" 2>/dev/null; }
( ( ${session}
) >"$d/out" 2>"$d/err" </dev/null; echo "$?" >"$d/code"; mv "$d/code" "$d/done" ) >/dev/null 2>&1 &
echo "$!" >"$d/pid"
end=$(( $(date +%s) + limit ))
while [ ! -e "$d/held" ]; do
  if grep -q dmaas-held "$d/out" 2>/dev/null; then locked; break; fi
  if [ -e "$d/done" ] || after "$end"; then
    touch "$d/release"; tail -n 3 "$d/err" >&2; tail -n 1 "$d/out" >&2; code=1
    [ -e "$d/done" ] || echo "not locked within $limit s" >&2
    nobody && code=${NOT_RUNNING}
    [ -e "$d/done" ] && rm -rf "$d"
    exit "$code"
  fi
  pause
done
echo held`;
}

/** The shell script that ends the session. Exits with `EXPIRED` when it had given up its lock before, and otherwise as the session did. */
export function releaseScript(operation: string): string {
  return `
found=
for base in ${PLACES}; do d="$base/.dmaas-freeze-${operation}"; [ -d "$d" ] && found="$d" && break; done
[ -n "$found" ] || exit 0
touch "$d/release"
n=0
pid="$(cat "$d/pid")"
alive() { kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null; }
while [ ! -e "$d/done" ] && [ "$n" -lt 30 ] && alive; do n=$((n + 1)); sleep 1; done
code="$(cat "$d/done" 2>/dev/null)" || { echo "the session that held it is gone" >&2; code=1; }
[ "$code" = 0 ] || tail -n 3 "$d/err" >&2
[ -e "$d/expired" ] && code=${EXPIRED}
rm -rf "$d"
exit "$code"`;
}

const POSTGRES = `
user="\${POSTGRES_USER:-\${POSTGRESQL_USERNAME:-\${PGUSER:-postgres}}}"
PGPASSWORD="\${POSTGRES_PASSWORD:-\${POSTGRESQL_PASSWORD:-\${PGPASSWORD:-}}}"
if [ -z "$PGPASSWORD" ] && [ -r "\${POSTGRES_PASSWORD_FILE:-/nonexistent}" ]; then PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"; fi
export PGPASSWORD PGCONNECT_TIMEOUT=5
host=
for h in "\${PGHOST:-}" /var/run/postgresql /tmp 127.0.0.1; do
  [ -n "$h" ] || continue
  if answers psql -XAtq -w -h "$h" -U "$user" -d postgres -c 'select 1'; then host="$h"; break; fi
  nobody || break
done
[ -n "$host" ] || exit 1
version="$(psql -XAtq -w -h "$host" -U "$user" -d postgres -c 'show server_version_num')"
if [ "$version" -ge 150000 ]; then start="pg_backup_start('dmaas', true)"; stop='pg_backup_stop(false)'
else start="pg_start_backup('dmaas', true, false)"; stop='pg_stop_backup(false, false)'; fi
{ echo "select 'dmaas-held' from (select $start) s;"; hold; echo "select 'stopped' from (select $stop) s;"; } |
  client psql -XAtq -w -v ON_ERROR_STOP=1 -h "$host" -U "$user" -d postgres`;

/** The limit of waiting for the lock matters: while it waits for a long statement to end, it keeps all others from writing. */
const MYSQL = `
program="$(command -v mariadb || command -v mysql)"
[ -n "$program" ] || { echo "no mysql or mariadb client" >&2; exit 1; }
user="\${MARIADB_ROOT_USER:-\${MYSQL_ROOT_USER:-root}}"
MYSQL_PWD="\${MARIADB_ROOT_PASSWORD:-\${MYSQL_ROOT_PASSWORD:-}}"
for f in "\${MARIADB_ROOT_PASSWORD_FILE:-}" "\${MYSQL_ROOT_PASSWORD_FILE:-}"; do
  if [ -z "$MYSQL_PWD" ] && [ -n "$f" ] && [ -r "$f" ]; then MYSQL_PWD="$(cat "$f")"; fi
done
export MYSQL_PWD
host=
for h in localhost 127.0.0.1; do
  if answers "$program" --connect-timeout=5 -h "$h" -u "$user" -e 'SELECT 1'; then host="$h"; break; fi
  nobody || break
done
[ -n "$host" ] || exit 1
{ echo "SET SESSION lock_wait_timeout = $limit; FLUSH TABLES WITH READ LOCK; SELECT 'dmaas-held';"; hold; echo 'UNLOCK TABLES;'; } |
  client "$program" --batch --skip-column-names --unbuffered -h "$host" -u "$user"`;

/** The lock is the server's and not of a connection: it ends with this session, or when the server ends. */
const MONGO = `
program="$(command -v mongosh || command -v mongo)"
[ -n "$program" ] || { echo "no mongosh" >&2; exit 1; }
export dmaas_user="\${MONGO_INITDB_ROOT_USERNAME:-\${MONGODB_ROOT_USER:-}}" dmaas_password="\${MONGO_INITDB_ROOT_PASSWORD:-\${MONGODB_ROOT_PASSWORD:-}}"
for f in "\${MONGO_INITDB_ROOT_PASSWORD_FILE:-}" "\${MONGODB_ROOT_PASSWORD_FILE:-}"; do
  if [ -z "$dmaas_password" ] && [ -n "$f" ] && [ -r "$f" ]; then dmaas_password="$(cat "$f")"; fi
done
f="\${MONGO_INITDB_ROOT_USERNAME_FILE:-}"
if [ -z "$dmaas_user" ] && [ -n "$f" ] && [ -r "$f" ]; then dmaas_user="$(cat "$f")"; fi
say() {
  "$program" --quiet --norc --port "\${MONGODB_PORT_NUMBER:-27017}" --eval "
    var env = function (name) { return typeof process === 'undefined' ? _getEnv(name) : process.env[name]; };
    if (env('dmaas_user') && env('dmaas_password')) db.getSiblingDB('admin').auth(env('dmaas_user'), env('dmaas_password'));
    var r = $1; if (r.ok !== 1) { print(JSON.stringify(r)); quit(1); }"
}
say 'db.fsyncLock()' && { locked; hold; say 'db.fsyncUnlock()'; }`;

/**
 * Reads go on. The pause is the server's own, with a limit, and newer than 6.1: older servers are made to save, and not held. With an append-only file, what
 * was answered is in the file; it is only the disk that may not have it yet.
 */
const REDIS = `
REDISCLI_AUTH="\${REDIS_PASSWORD:-\${REDISCLI_AUTH:-}}"
f="\${REDIS_PASSWORD_FILE:-}"
if [ -z "$REDISCLI_AUTH" ] && [ -n "$f" ] && [ -r "$f" ]; then REDISCLI_AUTH="$(cat "$f")"; fi
export REDISCLI_AUTH
[ -n "$REDISCLI_AUTH" ] || unset REDISCLI_AUTH
program="$(command -v redis-cli || command -v valkey-cli || command -v keydb-cli)"
[ -n "$program" ] || { echo "no redis-cli" >&2; exit 1; }
say() { "$program" -p "\${REDIS_PORT_NUMBER:-6379}" "$@" 2>&1; }
must() { want="$1"; shift; answer="$(say "$@")"; case "$answer" in "$want"*) ;; *) echo "$answer" >&2; exit 1 ;; esac; }
field() { say info "$1" | tr -d '\\r' | sed -n "s/^$2://p"; }
idle() { while [ "$(field persistence rdb_bgsave_in_progress)" = 1 ] || [ "$(field persistence aof_rewrite_in_progress)" = 1 ]; do pause; done; }
must PONG ping
run="$(field server run_id)"
paused=
[ "$(say client pause "\${limit}000" write)" = OK ] && paused=yes
if [ "$(field persistence aof_enabled)" = 1 ]; then
  idle
  [ "$(field persistence aof_last_write_status)" = ok ] || { echo "the append-only file cannot be written" >&2; say client unpause >/dev/null; exit 1; }
  sync
else
  until answer="$(idle; say bgsave)"; [ "\${answer#Background saving started}" != "$answer" ]; do
    case "$answer" in *'in progress'*) ;; *) echo "$answer" >&2; say client unpause >/dev/null; exit 1 ;; esac
  done
  idle
  [ "$(field persistence rdb_last_bgsave_status)" = ok ] || { echo "the data set cannot be saved" >&2; say client unpause >/dev/null; exit 1; }
fi
[ -z "$paused" ] || say client pause "$((limit + 2))000" write >/dev/null
locked
[ -n "$paused" ] || exit 0
hold
must OK client unpause
[ "$(field server run_id)" = "$run" ] || { echo "the server was started anew while it was held" >&2; exit 1; }`;

export const RECIPES: readonly Recipe[] = [
  {
    name: 'postgresql',
    images: /(^|\/)(postgres|postgresql|postgresql-repmgr|postgis|timescaledb|timescaledb-ha|pgvector|spilo-\d+)$/,
    does: 'holds a backup session of PostgreSQL open',
    session: POSTGRES,
  },
  {
    name: 'mysql',
    images: /(^|\/)(mysql|mysql-server|mariadb|mariadb-galera|percona|percona-server)$/,
    does: 'holds the global read lock of MySQL or MariaDB',
    session: MYSQL,
  },
  {
    name: 'mongodb',
    images: /(^|\/)(mongo|mongodb|mongodb-community-server|percona-server-mongodb)$/,
    does: 'locks the writes of MongoDB',
    session: MONGO,
  },
  {
    name: 'redis',
    images: /(^|\/)(redis|redis-stack|redis-stack-server|valkey|keydb)$/,
    does: 'pauses the writes of Redis when its data set is on the volume',
    session: REDIS,
  },
];

export const RECIPE_NAMES: readonly string[] = RECIPES.map(({ name }) => name);

/** The recipe for an image, if there is one. */
export function recipeFor(image: string): Recipe | undefined {
  const name = image.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
  return RECIPES.find((recipe) => recipe.images.test(name));
}
