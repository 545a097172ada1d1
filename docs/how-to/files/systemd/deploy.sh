#!/bin/sh
# Point "current" at a release and restart one instance after the other, each when the one before is ready.
set -eu
release=${1:?usage: deploy.sh RELEASE}
cd /srv/shop
[ -x "releases/$release/.venv/bin/zdd" ] || { echo "there is no release $release" >&2; exit 1; }
ln -sfn "releases/$release" current
echo "ZDD_RELEASE_VERSION=$release" >release.env
for port in 8001 8002; do
    systemctl restart "shop@$port"
    for _ in $(seq 60); do
        curl -fsS -o /dev/null "http://127.0.0.1:$port/readyz" 2>/dev/null && continue 2
        sleep 1
    done
    echo "shop@$port is not ready; the other instance still serves" >&2
    exit 1
done
