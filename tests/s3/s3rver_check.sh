#!/usr/bin/env bash
# npm's s3rver answers as S3 does and ignores If-Match and If-None-Match without a word: a store that the pool probe must
# refuse. `./dev setup` has put it below build/; otherwise it is installed there now: 77, where that cannot be done.
# Usage: s3rver_check.sh PATH/TO/ebb
set -euo pipefail
ebb=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
s3rver=$(realpath "$here/../..")/build/s3rver
"$here/install_s3rver.sh" "$s3rver" || { echo "skipped: there is no s3rver: ./dev setup" >&2; exit 77; }
work=$(mktemp -d)
pid=
cleanup() {
  [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work"
mkdir objects
node "$s3rver/node_modules/s3rver/bin/s3rver.js" --directory objects --address 127.0.0.1 --port 0 --configure-bucket ebb-test >server.log 2>&1 &
pid=$!
port=
for _ in $(seq 200); do
  port=$(sed -n 's/.*listening on.*:\([0-9][0-9]*\).*/\1/p' server.log | head -1)
  [ -z "$port" ] || break
  kill -0 "$pid" 2>/dev/null || { cat server.log >&2; exit 1; }
  sleep 0.1
done
[ -n "$port" ] || { echo "s3rver does not say where it listens:" >&2; cat server.log >&2; exit 1; }
printf '[default]\naws_access_key_id = S3RVER\naws_secret_access_key = S3RVER\n' >credentials
code=0
"$ebb" pool check "s3://ebb-test/pool?endpoint=http://127.0.0.1:$port&style=path&credentials=$work/credentials" >out 2>&1 || code=$?
cat out
[ "$code" = 1 ] || { echo "FAILED: exit code $code, wanted 1" >&2; exit 1; }
# Refused for its conditions, not because it could not be reached.
grep -qiE 'WRONG: .*(absent|exist|condition|tag|replace)' out || { echo "FAILED: it was not refused for ignoring conditions" >&2; exit 1; }
echo "ok: s3rver was refused"
