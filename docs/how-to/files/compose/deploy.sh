#!/bin/sh
# Replace both instances by a release, one after the other; --wait returns when the new one is healthy.
set -eu
export RELEASE="${1:?usage: deploy.sh RELEASE}"
docker compose pull shop-a
docker compose up --detach --wait redis nginx
for instance in shop-a shop-b; do
    docker compose up --detach --no-deps --wait "$instance"
done
