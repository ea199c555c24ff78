"""NBD to the letter on an object disk: what nbdinfo sees, the corner cases of the protocol, nbdcopy on several connections, a FLUSH on
one connection for what another wrote, and a clean restart under a client that connects again."""

import pathlib
import subprocess
import sys

from rig import MIB, Rig, arguments, check, in_parallel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "nbd"))
import corner_cases  # noqa: E402

args = arguments(__doc__)
SIZE = 80 * MIB
FLAGS = ("is_read_only\": false", "can_flush\": true", "can_fua\": true", "can_trim\": true", "can_zero\": true", "can_fast_zero\": true",
         "can_cache\": true", "can_multi_conn\": true", "can_df\": true", "structured\": true", "base:allocation\"", f"export-size\": {SIZE}",
         "block_size_minimum\": 1", "block_size_preferred\": 4096", "block_size_maximum\": 33554432")


def run(*words):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=100)
    check(done.returncode == 0, f"{words}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def check_protocol(diskd, disk):
    seen = run("nbdinfo", "--json", diskd.uri(disk))
    for flag in FLAGS:
        check(f"\"{flag}" in seen, f"nbdinfo does not say {flag}: {seen}")
    h = corner_cases.connect(str(diskd.socket_of(disk)), export=disk.name)
    corner_cases.model(h)
    corner_cases.sparse(h, keeps_zeroes=False)
    corner_cases.large(h)
    corner_cases.refusals(h)
    h.zero(SIZE, 0)
    h.shutdown()


def check_copies(rig, diskd, disk):
    there, back = rig.root / f"{disk.name}.there", rig.root / f"{disk.name}.back"
    with open("/dev/urandom", "rb") as noise, open(there, "wb") as out:
        out.write(noise.read(12 * MIB))
        out.seek(50 * MIB)
        out.write(noise.read(6 * MIB))
        out.truncate(SIZE)
    run("nbdcopy", "--connections=4", "--flush", there, diskd.uri(disk))
    run("nbdcopy", "--connections=4", diskd.uri(disk), back)
    run("cmp", there, back)
    h = corner_cases.connect(str(diskd.socket_of(disk)), export=disk.name)
    h.trim(4 * MIB, MIB + 4096)
    found = corner_cases.extents(h, 8 * MIB, 0)
    check(found == [(MIB + 4096, 0), (4 * MIB, 3), (3 * MIB - 4096, 0)], f"block status after a trim: {found}")
    h.shutdown()


def check_flush_of_another_connection(diskd, disk):
    """What one has written and another flushed, the store has: the host may be lost."""
    one, other = (corner_cases.connect(str(diskd.socket_of(disk)), export=disk.name) for _ in range(2))
    for i in range(200):
        one.pwrite(bytes([i + 1]) * 4096, 60 * MIB + 3 * i * 4096)
    other.flush()
    diskd.lose_state()
    diskd.start()
    diskd.open(disk, take_over=True)
    h = corner_cases.connect(str(diskd.socket_of(disk)), export=disk.name)
    for i in range(200):
        check(h.pread(4096, 60 * MIB + 3 * i * 4096) == bytes([i + 1]) * 4096, f"write {i} is lost")
    h.shutdown()


def check_clean_restart(diskd, disk):
    back = f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={diskd.socket_of(disk)},file.export={disk.name},file.reconnect-delay=60"
    client = subprocess.Popen(["qemu-io", "--image-opts", back], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def say(line):
        client.stdin.write(line + "\n")
        client.stdin.flush()

    say("write -P 1 0 1M")
    say("flush")
    while "wrote" not in client.stdout.readline():
        check(client.poll() is None, "qemu-io ended")
    diskd.stop()  # SIGTERM
    say("write -P 2 1M 1M")
    diskd.start()
    diskd.wait_served(disk)
    for line in ("flush", "read -P 1 0 1M", "read -P 2 1M 1M", "quit"):
        say(line)
    said = client.communicate(timeout=60)[0]
    bad = [word for word in ("error", "failed", "mismatch", "rror:") if word in said.lower()]
    check(client.returncode == 0 and not bad and said.count("read 1048576/1048576") == 2, f"a restart was no pause: {said}")


def story(disk_class):
    with Rig(args.bin) as rig:
        disk = rig.create("d-nbd", SIZE, disk_class)
        diskd = rig.diskd("worker-1")
        diskd.open(disk)
        check_protocol(diskd, disk)
        check_copies(rig, diskd, disk)
        check_clean_restart(diskd, disk)
        if disk_class == "remote":
            check_flush_of_another_connection(diskd, disk)
        diskd.seal(disk)
        rig.offline_check(disk)


in_parallel([lambda: story("remote"), lambda: story("local")])
print("an object disk speaks NBD to the letter")
