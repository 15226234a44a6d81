#!/bin/sh
# Makes .env beside compose.yaml: every password and key, drawn anew, for its owner's eyes only. Keeps one that is there.
set -eu
cd "$(dirname "$0")"
umask 077
[ ! -e .env ] || { echo ".env is there already: a server may be using it; remove it yourself to begin anew" >&2; exit 1; }

hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
cat > .env <<END
MLFLOW_PORT=5000
MLFLOW_DOMAIN=localhost
MLFLOW_ADMIN_PASSWORD=$(hex 16)
MLFLOW_SECRET_KEY=$(hex 32)
POSTGRES_PASSWORD=$(hex 24)
S3_ACCESS_KEY=GK$(hex 12)
S3_SECRET_KEY=$(hex 32)
GARAGE_RPC_SECRET=$(hex 32)
END
echo "made $(pwd)/.env; the admin's password is in it"
