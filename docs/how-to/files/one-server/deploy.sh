#!/bin/sh
# Replace the release that runs by another one, blue-green on two ports of one server, behind nginx.
#
#   deploy.sh 1.4.2      start it on the free port, wait until it is ready, switch nginx, let the old one drain
#   deploy.sh 1.4.1      is how you roll back
#
# $SHOP (default /srv/shop) holds releases/<release>/.venv, shop.env, and run/ and log/, which this script makes.
# Exit status 0: the release serves. 1: it does not, and whatever served before goes on.
set -eu

release=${1:?usage: deploy.sh RELEASE}
cd "${SHOP:=/srv/shop}"
set -a
. ./shop.env
set +a
zdd=releases/$release/.venv/bin/zdd
mkdir -p run log

fail() {
    echo "deploy.sh: $1" >&2
    exit 1
}

[ -x "$zdd" ] || fail "there is no $SHOP/$zdd"
exec 9>run/deploy.lock
flock -n 9 || fail "another deployment is under way"

old=$(cat run/port 2>/dev/null || true)
port=$BLUE
[ "$old" != "$BLUE" ] || port=$GREEN

# The server inherits this lock and so holds it for as long as any of its processes lives, however it ends.
exec 8>"run/$port.lock"
flock -n 8 || fail "something still runs on port $port: see $SHOP/log/$port.log"
ZDD_RELEASE_VERSION=$release ZDD_INSTANCE=shop-$port \
    setsid "$zdd" serve $SERVE --port "$port" </dev/null >>"log/$port.log" 2>&1 9>&- &
new=$!
exec 8>&-

for _ in $(seq "$START_SECONDS"); do
    if curl -fsS -o /dev/null "http://127.0.0.1:$port/readyz" 2>/dev/null; then ready=yes; break; fi
    kill -0 "$new" 2>/dev/null || break
    sleep 1
done
if [ -z "${ready:-}" ]; then
    kill -KILL "$new" 2>/dev/null || true
    fail "$release did not become ready: see $SHOP/log/$port.log"
fi

echo "server 127.0.0.1:$port;" >run/upstream.new
mv run/upstream.new run/upstream.conf
$NGINX -s reload
echo "$new" >"run/$port.pid"
echo "$port" >run/port
echo "$release serves on port $port"

# The old release goes on serving for its drain lag, in which nginx has long switched; then it leaves by itself.
if [ -n "$old" ] && ! flock -n "run/$old.lock" true; then
    kill -TERM "$(cat "run/$old.pid")"
    flock -w "$GRACE_SECONDS" "run/$old.lock" true || kill -KILL "$(cat "run/$old.pid")"
    echo "port $old is free"
fi
