#!/bin/bash
# witness_check_test.sh WITNESS WITNESS_CHECK: the checker against images made without a VM, right ones and wrong ones.
# A checker is worth what it catches, so most cases here must fail.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

witness=$(realpath "$1")
check=$(realpath "$2")
# In memory if possible: the witness waits for the disk after each record.
folder=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
export TMPDIR=$folder
trap 'rm -rf "$folder"' EXIT
cd "$folder"
failures=0

# write_boot N: one boot of the witness that writes N records to ./records and reports them to ./log.
write_boot() {
  "$witness" --records records --report log --tag disk-1 --pause-ms 0 --stop-after "$1"
}

# make_image: ./disk.raw with ./records in it.
make_image() {
  rm -f disk.raw
  truncate -s 16M disk.raw
  mke2fs -q -F -t ext4 -b 4096 -L ebbdata disk.raw
  debugfs -w -R "write records records" disk.raw 2>/dev/null >&2
}

# alter SLOT BYTE: changes one byte of a record, inside the image.
alter() {
  local at
  at=$(grep -abo EBBWREC1 disk.raw | sed -n "${1}p" | cut -d : -f 1)
  printf 'x' | dd of=disk.raw bs=1 seek=$((at + $2)) conv=notrunc status=none
}

# expect EXIT_CODE JSON WHAT [ARGUMENTS]: what the checker must say of ./disk.raw.
expect() {
  local code=$1 json=$2 what=$3 got_code=0 got
  shift 3
  got=$("$check" --disk disk.raw "$@" 2>remarks) || got_code=$?
  if [[ $got_code == "$code" && $got == "$json" ]]; then
    echo "ok: $what"
  else
    echo "FAILED: $what: exit $got_code, said '$got', wanted exit $code, '$json'"
    cat remarks
    failures=$((failures + 1))
  fi
}

begin() { rm -f records log log2 disk.raw; }

begin
write_boot 100
write_boot 50
make_image
before=$(sha256sum disk.raw)
expect 0 '{"records":150,"reported":150,"lost":0,"bad":0,"torn":0}' "an honest disk passes" --reported log
expect 0 '{"records":150,"reported":0,"lost":0,"bad":0,"torn":0}' "without logs the records alone are judged"
[[ $(sha256sum disk.raw) == "$before" ]] || { echo "FAILED: the image was changed"; failures=$((failures + 1)); }
printf 'D 99999' >>log
expect 0 '{"records":150,"reported":150,"lost":0,"bad":0,"torn":0}' "a line cut off by a kill does not count" --reported log
printf '\n' >>log
expect 1 '{"records":150,"reported":99999,"lost":99849,"bad":0,"torn":0}' "an invented number is a loss" --reported log
echo 'D 151' >log2
expect 1 '{"records":150,"reported":151,"lost":1,"bad":0,"torn":0}' "one record too few is a loss" --reported log2

begin
write_boot 150
make_image
debugfs -w -R "feature needs_recovery" disk.raw 2>/dev/null >&2
expect 0 '{"records":150,"reported":150,"lost":0,"bad":0,"torn":0}' "a journal to be replayed is replayed" --reported log
expect 0 '{"records":150,"reported":150,"lost":0,"bad":0,"torn":0}' "so it is in a scratch image" --reported log --scratch
for byte in 0 8 16 60 127; do
  make_image
  alter 70 $byte
  expect 1 '{"records":149,"reported":150,"lost":1,"bad":1,"torn":0}' "a change of byte $byte is seen" --reported log
done
expect 1 '{"records":149,"reported":0,"lost":0,"bad":1,"torn":0}' "also without logs"

begin
write_boot 150
dd if=records of=swapped bs=128 count=150 status=none
dd if=records of=swapped bs=128 skip=9 seek=19 count=1 conv=notrunc status=none
mv swapped records
make_image
expect 1 '{"records":149,"reported":150,"lost":1,"bad":1,"torn":0}' "an intact record in the wrong place is seen" --reported log

begin
write_boot 100
cp records old-records
write_boot 50
mv old-records records
cp log log2
write_boot 100
make_image
expect 1 '{"records":200,"reported":200,"lost":50,"bad":1,"torn":0}' "a disk that went back and was written anew is seen" --reported log
tail -n 202 log >log3
expect 1 '{"records":200,"reported":200,"lost":50,"bad":0,"torn":0}' "also when each worker has its own log" --reported log2 --reported log3

begin
write_boot 100
head -c 60 records >tail
cat tail >>records
make_image
expect 0 '{"records":100,"reported":100,"lost":0,"bad":0,"torn":1}' "a torn write that was not reported is no fault" --reported log
write_boot 10
make_image
expect 0 '{"records":110,"reported":110,"lost":0,"bad":0,"torn":0}' "the witness removes it and goes on" --reported log
truncate -s $((109 * 128 + 60)) records
make_image
expect 1 '{"records":109,"reported":110,"lost":1,"bad":0,"torn":1}' "a torn write that was reported is a loss" --reported log

begin
write_boot 100
printf 'x' | dd of=records bs=1 seek=$((49 * 128 + 70)) conv=notrunc status=none
write_boot 10 || true
grep -q '^BAD 50 record crc32$' log || { echo "FAILED: the witness wrote behind a bad record"; failures=$((failures + 1)); }
make_image
expect 1 '{"records":99,"reported":100,"lost":1,"bad":2,"torn":0}' "a BAD line counts" --reported log

begin
write_boot 100
make_image
debugfs -w -R "rm /records" disk.raw 2>/dev/null >&2
expect 1 '{"records":0,"reported":100,"lost":100,"bad":0,"torn":0}' "a missing file is a loss" --reported log
make_image
debugfs -w -R "clri /lost+found" disk.raw 2>/dev/null >&2
expect 1 '{"records":100,"reported":100,"lost":0,"bad":1,"torn":0}' "a damaged file system is bad" --reported log
head -c 1000000 /dev/zero >disk.raw
expect 2 '' "an empty image is no answer" --reported log
rm disk.raw
expect 2 '' "neither is none" --reported log
make_image
expect 2 '' "nor a log that is not there" --reported no-such-log
expect 2 '' "nor an unknown option" --nonsense

[[ $failures == 0 ]] || { echo "$failures failed"; exit 1; }
