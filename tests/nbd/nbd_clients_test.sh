#!/usr/bin/env bash
# Clients that no one here wrote against our NBD server: libnbd's tools, qemu's, and fio with its own checksums.
# Usage: nbd_clients_test.sh PATH/TO/nbd_memory_server
set -euo pipefail
server=$(realpath "$1")
PATH=/usr/bin:$PATH  # nbdsh needs the Python that its package was built for
for tool in nbdinfo nbdcopy nbdsh qemu-img qemu-io fio; do
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
  '"can_zero": true' '"can_multi_conn": true' '"can_df": true' '"block_size_minimum": 1' '"block_size_preferred": 4096' \
  '"block_size_maximum": 33554432' '"base:allocation"' '"structured": true'; do
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
check "nbdcopy both ways"

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

# Odd sizes and offsets, many at once, against a model; and what must be refused.
URI=$uri nbdsh -c - <<'PY' || fail "nbdsh"
import errno, os, random
import nbd
h.set_strict_mode(0)
h.connect_uri(os.environ["URI"])
rnd = random.Random(5)
span = 1 << 20
model = bytearray(span)
h.zero(span, 0)
for i in range(400):
    offset = rnd.randrange(span)
    length = rnd.randrange(1, min(span - offset, 70000) + 1)
    kind = rnd.random()
    if kind < 0.6:
        data = rnd.randbytes(length)
        h.pwrite(data, offset, rnd.choice([0, nbd.CMD_FLAG_FUA]))
        model[offset:offset + length] = data
    elif kind < 0.8:
        h.zero(length, offset, rnd.choice([0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA]))
        model[offset:offset + length] = bytes(length)
    elif kind < 0.9:
        h.flush()
    else:
        assert h.pread(length, offset) == model[offset:offset + length], (i, offset, length)
assert h.pread(span, 0) == model
buffers = []
for i in range(200):
    offset = rnd.randrange(span - 5000)
    buffer = nbd.Buffer(rnd.randrange(1, 5000))
    buffers.append((h.aio_pread(buffer, offset), buffer, offset))
    while h.aio_in_flight() >= 64:
        h.poll(-1)
while h.aio_in_flight() > 0:
    h.poll(-1)
for cookie, buffer, offset in buffers:
    assert h.aio_command_completed(cookie)
    assert buffer.to_bytearray() == model[offset:offset + buffer.size()]
size = h.get_size()
def refused(number, call, *args):
    try:
        call(*args)
    except nbd.Error as e:
        assert e.errnum == number, (e, number)
        return
    assert False, "was not refused"
refused(errno.EINVAL, h.pread, 1, size)
refused(errno.ENOSPC, h.pwrite, b"xx", size - 1)
refused(errno.ENOSPC, h.zero, 1, size)
refused(errno.EINVAL, h.trim, 2, size - 1)
refused(errno.EINVAL, h.cache, 1, 0)
assert h.pread(span, 0) == model
h.shutdown()
PY
check "nbdsh: odd sizes, 64 in flight, errors"

# fio checks its own checksums, on several connections.
fio --name=v --ioengine=nbd --uri="$uri" --rw=randwrite --bsrange=512-64k --bs_unaligned=0 --iodepth=32 --size=64M --io_size=48M \
  --verify=crc32c --verify_fatal=1 --verify_backlog=256 --minimal >"$work/fio" 2>&1 || { cat "$work/fio"; fail "fio"; }
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

# Read-only.
r=$work/r; start "$r" 1M read-only
nbdinfo --json "nbd+unix:///disk?socket=$r" | grep -q '"is_read_only": true' || fail "read-only flag"
! qemu-io -f raw "nbd+unix:///disk?socket=$r" -c 'write 0 512' >"$work/ro" 2>&1 || grep -qiE 'read.only|permitted|failed' "$work/ro" || fail "read-only"
check "read-only"
echo "all passed"
