#!/usr/bin/env bash
# Clients that no one here wrote against our NBD server: libnbd's tools, qemu's, and fio with its own checksums.
# Usage: nbd_clients_test.sh PATH/TO/nbd_memory_server
set -euo pipefail
server=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
PATH=/usr/bin:/usr/sbin:$PATH  # libnbd needs the Python that its package was built for
for tool in nbdinfo nbdcopy nbdfuse mkfs.ext4 qemu-img qemu-io fio; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed: run ./dev setup" >&2; exit 1; }
done
work=$(mktemp -d)
cd "$work"  # fio leaves a state file where it runs
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

start() {  # start SOCKET SIZE [read-only]
  "$server" "$@" >"$1.out" 2>"$1.err" &
  pids+=($!)
  for _ in $(seq 500); do
    grep -q ready "$1.out" && return
    sleep 0.02
  done
  echo "the server did not start"; cat "$1.err"; exit 1
}
check() { echo "ok: $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

s=$work/s; uri="nbd+unix:///disk?socket=$s"
start "$s" 64M

# What nbdinfo sees.
nbdinfo --json "$uri" >"$work/info.json"
for part in '"export-size": 67108864' '"is_read_only": false' '"can_flush": true' '"can_fua": true' '"can_trim": true' \
  '"can_zero": true' '"can_fast_zero": true' '"can_cache": true' '"can_multi_conn": true' '"can_df": true' '"block_size_minimum": 1' '"block_size_preferred": 4096' \
  '"block_size_maximum": 33554432' '"base:allocation"' '"structured": true' '"export-name": "disk"'; do
  grep -qF "$part" "$work/info.json" || { cat "$work/info.json"; fail "nbdinfo does not say $part"; }
done
nbdinfo --list "nbd+unix://?socket=$s" | grep -q 'export="disk"' || fail "nbdinfo --list"
! nbdinfo "nbd+unix:///nothing?socket=$s" 2>/dev/null || fail "an unknown export was served"
! qemu-img info "nbd+unix:///nothing?socket=$s" 2>"$work/err" || fail "an unknown export was served"
grep -q "no disk 'nothing' here" "$work/err" || { cat "$work/err"; fail "the reason was not told"; }
check "nbdinfo: flags, sizes, list, unknown export"

# Both ways with nbdcopy, four connections.
head -c 20M /dev/urandom >"$work/a"; truncate -s 44M "$work/a"; head -c 10M /dev/urandom >>"$work/a"; truncate -s 64M "$work/a"
nbdcopy --connections=4 "$work/a" "$uri"
nbdcopy --connections=4 "$uri" "$work/b"
cmp "$work/a" "$work/b" || fail "nbdcopy"
[ "$(stat -c %b "$work/b")" -le $((31 * 2048)) ] || fail "holes were filled on the way"
nbdcopy --no-extents --request-size=33554432 --requests=2 "$uri" "$work/b2"
cmp "$work/a" "$work/b2" || fail "nbdcopy in requests of 32 MiB"
check "nbdcopy both ways, sparse, and in requests of 32 MiB"

# Holes are seen as holes.
nbdinfo --map "$uri" | awk '$3 == 3 {holes += $2} END {exit !(holes == 34 * 1048576)}' || { nbdinfo --map "$uri"; fail "map"; }
qemu-img map --output=json "$uri" | grep -q '"zero": true' || fail "qemu-img map"
qemu-img compare -f raw -F raw "$work/a" "$uri" || fail "qemu-img compare"
qemu-img convert -n -f raw -O raw "$uri" "$work/c" 2>/dev/null || qemu-img convert -f raw -O raw "$uri" "$work/c"
cmp "$work/a" "$work/c" || fail "qemu-img convert"
check "qemu-img map, compare, convert"

# qemu-io: patterns, discard, zeroes, flush, beyond the end.
qemu-io -f raw -d unmap "$uri" -c 'write -P 0x5a 1M 3M' -c 'write -f -P 0xa5 4097 511' -c 'flush' -c 'read -P 0x5a 1M 3M' \
  -c 'read -P 0xa5 4097 511' -c 'write -z 1M 64k' -c 'read -P 0 1M 64k' -c 'write -z -u 2M 1M' -c 'read -P 0 2M 1M' \
  -c 'discard 3M 1M' -c 'aio_write -P 7 5M 1M' -c 'aio_write -P 8 6M 1M' -c 'aio_flush' -c 'read -P 7 5M 1M' >"$work/io" 2>&1 ||
  { cat "$work/io"; fail "qemu-io"; }
! grep -iE 'error|fail|mismatch' "$work/io" || fail "qemu-io"
check "qemu-io"

# Odd sizes, sparse reads, contexts, 32 MiB at once, and everything that must be refused.
ro=$work/ro z=$work/z; start "$ro" 1M read-only; start "$z" 80M slow-zeroes; start "$work/cc" 80M
python3 "$here/corner_cases.py" "$work/cc" "$ro" "$z" || fail "corner cases"
check "libnbd: corner cases of the protocol"

# fio checks its own checksums, on several connections.
fio --name=v --ioengine=nbd --uri="$uri" --rw=randwrite --bsrange=512-64k --bs_unaligned=0 --iodepth=32 --numjobs=4 --size=16M \
  --offset_increment=16M --verify=crc32c --verify_fatal=1 --verify_backlog=256 --minimal >"$work/fio" 2>&1 || { cat "$work/fio"; fail "fio"; }
check "fio verify crc32c"

# A client that dies in the middle of a write harms nobody; garbage neither.
for _ in 1 2 3; do
  timeout -s KILL 0.05 nbdcopy "$work/a" "$uri" 2>/dev/null || true
  python3 - "$s" <<'PY'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(os.urandom(100000))
except OSError:
    pass
PY
done
nbdcopy "$work/a" "$uri" && nbdcopy "$uri" "$work/d" && cmp "$work/a" "$work/d" || fail "after killed clients and garbage"
check "killed clients and garbage"

# A file system on it, made with discards: as a file, which needs FUSE and the right to mount.
mkdir "$work/mnt" "$work/tree"; cp "$work/info.json" "$work/tree/one"; head -c 5M /dev/urandom >"$work/tree/two"
if [ -w /dev/fuse ] && [ "$(id -u)" = 0 ]; then
  nbdfuse "$work/mnt/disk" --unix "$s" & pids+=($!)
  for _ in $(seq 250); do [ -e "$work/mnt/disk" ] && break; sleep 0.02; done
  mkfs.ext4 -q -F -E discard -d "$work/tree" "$work/mnt/disk" || fail "mkfs.ext4"
  sync "$work/mnt/disk"
  nbdcopy "$uri" "$work/fs"
  e2fsck -fn "$work/fs" >"$work/fsck" 2>&1 || { cat "$work/fsck"; fail "e2fsck"; }
  debugfs -R "dump /two $work/two" "$work/fs" 2>/dev/null; cmp "$work/two" "$work/tree/two" || fail "a file in ext4"
  nbdinfo --map "$uri" | awk '$3 == 3 {holes += $2} END {exit !(holes > 40 * 1048576)}' || { nbdinfo --map "$uri"; fail "discard"; }
  check "mkfs.ext4 with discard through nbdfuse"
else
  echo "skipped: mkfs.ext4 through nbdfuse needs root and /dev/fuse"
fi

# Read-only.
nbdinfo --json "nbd+unix:///disk?socket=$ro" | grep -q '"is_read_only": true' || fail "read-only flag"
if qemu-io -f raw "nbd+unix:///disk?socket=$ro" -c 'write 0 512' >"$work/ro.out" 2>&1; then fail "a read-only disk was written"; fi
check "read-only"
echo "all passed"
