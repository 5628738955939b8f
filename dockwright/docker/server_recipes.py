"""Stand-ins of the servers that a platform needs: data, like that of `docker/recipes.py`, made only when named."""

from __future__ import annotations

from dockwright.docker.recipes import Recipe

# The package has made a cluster and a key: every container makes a cluster of its own, and no two may share a key.
_POSTGRES_SETUP = """
pg_dropcluster 15 main
rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem
mkdir -p /docker-entrypoint-initdb.d /var/lib/postgresql/data
chown -R postgres:postgres /var/lib/postgresql
chmod 700 /var/lib/postgresql/data
"""

# The first start makes the cluster, its user and its database, with the server reachable by its socket alone; then come
# the scripts that were added.
_POSTGRES_ENTRY = """#!/bin/sh
set -eu
if [ "${1#-}" != "$1" ]; then set -- postgres "$@"; fi
if [ "$1" != postgres ]; then exec "$@"; fi
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chmod 700 "$PGDATA"
    find "$PGDATA" /run/postgresql ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ -s "$PGDATA/PG_VERSION" ]; then exec "$@"; fi

password=${POSTGRES_PASSWORD-}
if [ "${POSTGRES_PASSWORD_FILE-}" ]; then password=$(cat "$POSTGRES_PASSWORD_FILE"); fi
method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
if [ -z "$password" ] && [ "$method" != trust ]; then
    echo "There is no password for the database: set POSTGRES_PASSWORD." >&2
    exit 1
fi
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
secret=$(mktemp)
printf '%s\\n' "${password:-unused}" >"$secret"
# shellcheck disable=SC2086 # several options in one variable
initdb --username="$user" --pwfile="$secret" ${POSTGRES_INITDB_ARGS-}
rm "$secret"
printf 'host all all all %s\\n' "$method" >>"$PGDATA/pg_hba.conf"
echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
pg_ctl --options="-c listen_addresses=''" --wait start
run_sql() { psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$user" --dbname="$1"; }
if [ "$database" != postgres ]; then createdb --username="$user" --maintenance-db=postgres -- "$database"; fi
for script in /docker-entrypoint-initdb.d/*; do
    case $script in
    *.sh) . "$script" ;;
    *.sql) run_sql "$database" <"$script" ;;
    *.sql.gz) gunzip -c "$script" | run_sql "$database" ;;
    esac
done
pg_ctl --mode=fast --wait stop
exec "$@"
"""

# The official image asks for no password where none is set; the package would then only answer its own host.
_REDIS_ENTRY = """#!/bin/sh
set -eu
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = redis-server ]; then
    if [ "$(id -u)" = 0 ]; then
        find . ! -user redis -exec chown redis:redis {} +
        exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
    fi
    shift
    configuration=
    if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then configuration=$1 && shift; fi
    set -- redis-server ${configuration:+"$configuration"} --protected-mode no "$@"
fi
exec "$@"
"""

_REGISTRY_ENTRY = """#!/bin/sh
set -eu
case "${1-}" in
*.yaml | *.yml) set -- registry serve "$@" ;;
serve | garbage-collect | help | -*) set -- registry "$@" ;;
esac
exec "$@"
"""

_REGISTRY_CONFIGURATION = """version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""

SERVER_RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="postgres",
            image="localhost/base/postgres:15",
            substitutes=("postgres:*",),
            packages=("postgresql-15", "ca-certificates"),
            setup=_POSTGRES_SETUP,
            files={"/usr/local/bin/docker-entrypoint.sh": _POSTGRES_ENTRY},
            env={
                "PATH": "/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PGDATA": "/var/lib/postgresql/data",
                "PG_MAJOR": "15",
                "LANG": "C.UTF-8",
            },
            changes=(
                'ENTRYPOINT ["docker-entrypoint.sh"]',
                "VOLUME /var/lib/postgresql/data",
                "EXPOSE 5432",
                "STOPSIGNAL SIGINT",
                'CMD ["postgres"]',
            ),
        ),
        Recipe(
            name="redis",
            image="localhost/base/redis:7",
            substitutes=("redis:*",),
            packages=("redis-server", "ca-certificates"),
            setup="install -d -o redis -g redis /data",
            files={"/usr/local/bin/docker-entrypoint.sh": _REDIS_ENTRY},
            changes=(
                'ENTRYPOINT ["docker-entrypoint.sh"]',
                "WORKDIR /data",
                "VOLUME /data",
                "EXPOSE 6379",
                'CMD ["redis-server"]',
            ),
        ),
        Recipe(
            name="registry",
            image="localhost/base/registry:2",
            substitutes=("registry:*",),
            packages=("docker-registry", "ca-certificates", "wget"),
            setup="ln -s /usr/bin/docker-registry /usr/local/bin/registry\nmkdir -p /var/lib/registry",
            files={
                "/entrypoint.sh": _REGISTRY_ENTRY,
                "/etc/docker/registry/config.yml": _REGISTRY_CONFIGURATION,
            },
            changes=(
                'ENTRYPOINT ["/entrypoint.sh"]',
                "VOLUME /var/lib/registry",
                "EXPOSE 5000",
                'CMD ["/etc/docker/registry/config.yml"]',
            ),
        ),
    )
}
