/** How a kind of database is made to stand still from inside its own container. Data: `freeze` and `release` are shell scripts. */
export interface Recipe {
  readonly name: string;
  /** Of an image, its registry, tag and digest aside: `bitnami/postgresql`. */
  readonly images: RegExp;
  /** What it does, for plans. */
  readonly does: string;
  /** `limitSeconds`: after that the container gives up the lock by itself, whatever became of us. */
  readonly freeze: (operation: string, limitSeconds: number) => string;
  /** Absent: nothing is held. Exits with `EXPIRED` when the lock was given up before. */
  readonly release?: (operation: string) => string;
}

/** Exit code of a freeze where no server answers: the container may be a client's, or the server is down, so that nothing writes. */
export const NOT_RUNNING = 69;

/** Exit code of a release that came too late: what was captured is not of one moment. */
export const EXPIRED = 75;

/** What clients say when nobody listens. */
const NO_SERVER = 'Connection refused|ECONNREFUSED|No such file or directory|ERROR 200[23]|Is the server running';
const PLACES = '"${TMPDIR:-/tmp}" /tmp /dev/shm /var/tmp /run';

/**
 * Starts `session` in the background, which locks, calls `locked`, then `hold`, then unlocks. Returns when it is locked, or fails with what it said.
 * The lease is in the container: the session ends itself after the limit, also when nobody comes to release it.
 */
function held(operation: string, limitSeconds: number, session: string): string {
  return `
for base in ${PLACES}; do d="$base/.dmaas-freeze-${operation}"; [ -d "$d" ] && touch "$d/release" && sleep 1; rm -rf "$d" 2>/dev/null; done
for base in ${PLACES}; do d="$base/.dmaas-freeze-${operation}"; mkdir -p "$d" 2>/dev/null && break; done
[ -d "$d" ] || { echo "no writable directory" >&2; exit 1; }
export d
locked() { touch "$d/held"; }
hold() {
  end=$(( $(date +%s) + ${limitSeconds} ))
  while [ ! -e "$d/release" ]; do
    if [ "$(date +%s)" -ge "$end" ]; then touch "$d/expired"; return; fi
    sleep 0.2 2>/dev/null || sleep 1
  done
}
( { ${session}
} >"$d/out" 2>"$d/err" </dev/null; touch "$d/done" ) >/dev/null 2>&1 &
n=0
while [ ! -e "$d/held" ]; do
  if grep -q dmaas-held "$d/out" 2>/dev/null; then locked; break; fi
  if [ -e "$d/done" ] || [ "$n" -ge ${limitSeconds} ]; then 
    touch "$d/release"; tail -n 3 "$d/err" >&2; tail -n 1 "$d/out" >&2; code=1
    grep -qE "${NO_SERVER}" "$d/err" "$d/out" && code=${NOT_RUNNING}
    rm -rf "$d"; exit "$code"
  fi
  n=$((n + 1)); sleep 1
done
echo held`;
}

function released(operation: string): string {
  return `
found=
for base in ${PLACES}; do d="$base/.dmaas-freeze-${operation}"; [ -d "$d" ] && found="$d" && break; done
[ -n "$found" ] || exit 0
touch "$d/release"
n=0
while [ ! -e "$d/done" ] && [ "$n" -lt 30 ]; do n=$((n + 1)); sleep 1; done
code=0
[ -e "$d/expired" ] && code=${EXPIRED}
[ -e "$d/done" ] || code=1
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
  if psql -XAtq -w -h "$h" -U "$user" -d postgres -c 'select 1' >/dev/null 2>"$d/err"; then host="$h"; break; fi
done
[ -n "$host" ] || exit 1
version="$(psql -XAtq -w -h "$host" -U "$user" -d postgres -c 'show server_version_num')"
if [ "$version" -ge 150000 ]; then start="pg_backup_start('dmaas', true)"; stop='pg_backup_stop(false)'
else start="pg_start_backup('dmaas', true, false)"; stop='pg_stop_backup(false, false)'; fi
{ echo "select 'dmaas-held' from (select $start) s;"; hold; echo "select 'stopped' from (select $stop) s;"; } |
  psql -XAtq -w -v ON_ERROR_STOP=1 -h "$host" -U "$user" -d postgres`;

const MYSQL = `
client="$(command -v mariadb || command -v mysql)"
[ -n "$client" ] || { echo "no mysql or mariadb client" >&2; exit 1; }
MYSQL_PWD="\${MARIADB_ROOT_PASSWORD:-\${MYSQL_ROOT_PASSWORD:-}}"
for f in "\${MARIADB_ROOT_PASSWORD_FILE:-}" "\${MYSQL_ROOT_PASSWORD_FILE:-}"; do
  if [ -z "$MYSQL_PWD" ] && [ -n "$f" ] && [ -r "$f" ]; then MYSQL_PWD="$(cat "$f")"; fi
done
export MYSQL_PWD
{ echo 'FLUSH TABLES WITH READ LOCK;'; echo "SELECT 'dmaas-held';"; hold; echo 'UNLOCK TABLES;'; } | "$client" --batch --skip-column-names --unbuffered -u root`;

const MONGO = `
shell="$(command -v mongosh || command -v mongo)"
[ -n "$shell" ] || { echo "no mongosh" >&2; exit 1; }
say() {
  "$shell" --quiet --norc --eval "
    var u = process.env.MONGO_INITDB_ROOT_USERNAME || process.env.MONGODB_ROOT_USER, p = process.env.MONGO_INITDB_ROOT_PASSWORD || process.env.MONGODB_ROOT_PASSWORD;
    if (u && p) db.getSiblingDB('admin').auth(u, p);
    var r = $1; if (r.ok !== 1) { print(JSON.stringify(r)); quit(1); }"
}
say 'db.fsyncLock()' && { locked; hold; say 'db.fsyncUnlock()'; }`;

const REDIS = `
export REDISCLI_AUTH="\${REDIS_PASSWORD:-\${REDISCLI_AUTH:-}}"
[ -n "$REDISCLI_AUTH" ] || unset REDISCLI_AUTH
client="$(command -v redis-cli || command -v valkey-cli)"
[ -n "$client" ] || { echo "no redis-cli" >&2; exit 1; }
answer="$("$client" save 2>&1)"
case "$answer" in OK*) ;; *"Connection refused"*) echo "$answer" >&2; exit ${NOT_RUNNING} ;; *) echo "$answer" >&2; exit 1 ;; esac`;

const session = (script: string) => (operation: string, limitSeconds: number) => held(operation, limitSeconds, script);

export const RECIPES: readonly Recipe[] = [
  {
    name: 'postgresql',
    images: /(^|\/)(postgres|postgresql|postgresql-repmgr|postgis|timescaledb|timescaledb-ha|pgvector|spilo-\d+)$/,
    does: 'holds a backup session of PostgreSQL open',
    freeze: session(POSTGRES),
    release: released,
  },
  {
    name: 'mysql',
    images: /(^|\/)(mysql|mysql-server|mariadb|mariadb-galera|percona|percona-server)$/,
    does: 'holds the global read lock of MySQL or MariaDB',
    freeze: session(MYSQL),
    release: released,
  },
  {
    name: 'mongodb',
    images: /(^|\/)(mongo|mongodb|mongodb-community-server|percona-server-mongodb)$/,
    does: 'locks the writes of MongoDB',
    freeze: session(MONGO),
    release: released,
  },
  {
    name: 'redis',
    images: /(^|\/)(redis|redis-stack|redis-stack-server|valkey|keydb)$/,
    does: 'makes Redis save its data set',
    freeze: () => REDIS,
  },
];

export const RECIPE_NAMES: readonly string[] = RECIPES.map(({ name }) => name);

/** The recipe for an image, if there is one. */
export function recipeFor(image: string): Recipe | undefined {
  const name = image.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
  return RECIPES.find((recipe) => recipe.images.test(name));
}
