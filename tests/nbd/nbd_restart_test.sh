#!/usr/bin/env bash
# A server that is killed and started again under load is a pause for its clients, and no error: fio with checksums of its own,
# through QEMU's NBD client with reconnect-delay. Usage: nbd_restart_test.sh PATH/TO/nbd_memory_server
set -euo pipefail
server=$(realpath "$1")
for tool in qemu-nbd qemu-io fio nbdcopy; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed: run ./dev setup" >&2; exit 1; }
done
work=$(mktemp -d)
cd "$work"
s=$work/s f=$work/front disk=$work/disk
pids=() server_pid=
exec {commands}>/dev/null  # where qemu-io's commands go: no server is to hold it open
cleanup() {
  for pid in "${pids[@]}" $server_pid; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
fail() { echo "FAILED: $*" >&2; cat "$work"/*.log >&2 || true; exit 1; }
wait_for() {  # wait_for COMMAND...
  for _ in $(seq 500); do
    "$@" && return
    sleep 0.02
  done
  fail "waited for: $*"
}

start_server() {
  : >ready
  "$server" "$s" 128M "file=$disk" >ready 2>>server.log {commands}>&- &
  server_pid=$!
  wait_for grep -q ready ready
}
kill_server() {
  kill -KILL "$server_pid"
  wait "$server_pid" 2>/dev/null || true
  server_pid=
}
back="driver=nbd,server.type=unix,server.path=$s,export=disk,reconnect-delay=30"

start_server
qemu-nbd --persistent --shared=8 --cache=none --discard=unmap --socket="$f" --image-opts "$back" 2>qemu-nbd.log &
pids+=($!)
wait_for test -S "$f"
wait_for nbdinfo --size "nbd+unix:///?socket=$f" >/dev/null 2>&1

# Writes for some seconds, then verifies all of them.
fio --name=v --ioengine=nbd --uri="nbd+unix:///?socket=$f" --rw=randwrite --bsrange=4k-64k --iodepth=32 --size=128M --io_size=100M \
  --rate=25m --verify=crc32c --verify_fatal=1 --fsync=64 >fio.log 2>&1 &
fio=$!
pids+=("$fio")
restarts=0
while sleep 0.5 && kill -0 "$fio" 2>/dev/null && [ "$restarts" -lt 8 ]; do
  kill_server
  sleep 0.1
  start_server
  restarts=$((restarts + 1))
done
wait "$fio" || fail "fio saw an error"
[ "$restarts" -ge 5 ] || fail "only $restarts restarts during the load"
echo "ok: fio wrote 100 MiB and verified it across $restarts restarts"

# One that is away for longer, with requests waiting all the time. qemu-io is told what to do bit by bit.
start_qemu_io() {  # start_qemu_io NAME IMAGE_OPTIONS
  mkfifo "$1.in"
  stdbuf -oL qemu-io --image-opts "$2" <"$1.in" >"$1.log" 2>&1 &
  qemu_io=$!
  pids+=("$qemu_io")
  exec {commands}>"$1.in"
  log=$1.log prompts=1
  tell 'write -P 1 0 8M'
}
has_prompts() { [ "$(grep -o 'qemu-io> ' "$log" | wc -l)" -ge "$prompts" ]; }
tell() {  # tell COMMAND...: one after the other, each when the last is done: what comes faster stays in its buffers
  for command in "$@"; do
    wait_for has_prompts
    echo "$command" >&"$commands"
    prompts=$((prompts + 1))
  done
}
hang_up() {
  tell quit
  exec {commands}>&-
  wait "$qemu_io" || true
}
start_qemu_io patient "$back"
wait_for has_prompts
kill_server
tell 'aio_write -P 2 1M 1M' 'aio_write -P 3 2M 1M' 'aio_flush'
sleep 1.5
kill -0 "$qemu_io" || fail "qemu-io did not wait"
[ "$(grep -c wrote patient.log)" = 1 ] || fail "a server that is away answered"
start_server
tell flush 'read -P 1 0 1M' 'read -P 2 1M 1M' 'read -P 3 2M 1M' 'read -P 1 3M 5M'
hang_up
! grep -iE 'error|failed|mismatch' patient.log || fail "qemu-io saw an error"
[ "$(grep -c 'read [0-9]*/[0-9]* bytes' patient.log)" = 4 ] || fail "qemu-io did not read all"
echo "ok: requests of qemu-io waited for a server that was away"

# A client without reconnect-delay does see it: so the above was no accident.
start_qemu_io plain "${back%,*}"
wait_for has_prompts
kill_server
start_server
tell 'write 0 4k'
hang_up
grep -q 'failed' plain.log || fail "a client without reconnect-delay saw nothing of it"
echo "all passed"
