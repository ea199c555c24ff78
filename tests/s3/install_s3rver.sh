#!/usr/bin/env bash
# Puts npm's s3rver, the one version that s3rver_check.sh is about, into FOLDER; quick if it is there. Nothing of it is run by the
# installation. Usage: install_s3rver.sh FOLDER
set -euo pipefail
folder=$1 version=3.7.1
is_there() { grep -q "\"version\": \"$version\"" "$folder/node_modules/s3rver/package.json" 2>/dev/null; }
if is_there; then exit 0; fi
command -v npm >/dev/null || { echo "npm is not installed" >&2; exit 1; }
# Beside it, and moved when it is whole: who is ended in the middle leaves nothing that looks installed.
mkdir -p "$(dirname "$folder")"
fresh=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
timeout 90 npm install --silent --no-audit --no-fund --ignore-scripts --cache "$fresh/cache" --prefix "$fresh" "s3rver@$version" ||
  { echo "npm's registry does not give s3rver@$version" >&2; exit 1; }
rm -rf "$fresh/cache" "$folder"
mv "$fresh" "$folder"
