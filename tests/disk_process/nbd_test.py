"""NBD to the letter on an object disk: what nbdinfo sees, the corner cases of the protocol, nbdcopy on several connections, a FLUSH on
one connection for what another wrote, a disk that grows under its clients, and clean restarts under clients that connect again."""

import errno
import pathlib
import random
import signal
import subprocess
import sys

import nbd

from rig import MIB, Rig, arguments, check, in_parallel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "nbd"))
import corner_cases  # noqa: E402

args = arguments(__doc__)
SIZE = 80 * MIB
GROWN = 100 * MIB
BLOCK = 4096
LOST = (errno.ENOTCONN, errno.ESHUTDOWN, errno.ECONNRESET, errno.EPIPE)
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


def qemu_options(diskd, disk):
    return f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={diskd.socket_of(disk)},file.export={disk.name},file.reconnect-delay=60"


def check_growth(diskd, disk):
    """Whoever was connected has to connect anew, and has the new size then; what was acknowledged before is there."""
    before = corner_cases.connect(str(diskd.socket_of(disk)), export=disk.name)
    before.pwrite(b"a" * BLOCK, SIZE - BLOCK)
    answer = diskd.ask("resize", disk=disk.name, pool="main", epoch=disk.epoch, size_bytes=GROWN)
    check(answer["size_bytes"] == GROWN, f"the answer to resize: {answer}")
    try:
        before.pread(BLOCK, SIZE - BLOCK)
        raise AssertionError("a connection goes on with the old size")
    except nbd.Error:
        check(before.aio_is_dead() or before.aio_is_closed(), "the connection has ended")
    now, other = (corner_cases.connect(str(diskd.socket_of(disk)), export=disk.name) for _ in range(2))
    check(now.get_size() == GROWN, f"a new connection has {now.get_size()} bytes")
    check(now.pread(BLOCK, SIZE - BLOCK) == b"a" * BLOCK, "what was written before is lost")
    check(now.pread(GROWN - SIZE, SIZE) == bytes(GROWN - SIZE), "what is new is not zeroes")
    now.pwrite(b"c" * 2 * BLOCK, SIZE - BLOCK)  # across the old end
    answer = diskd.ask("resize", disk=disk.name, pool="main", epoch=disk.epoch, size_bytes=GROWN)
    check(answer["size_bytes"] == GROWN, "the same again")
    check(other.pread(BLOCK, SIZE - BLOCK) == b"c" * BLOCK, "which ends no connection")
    end = f"{GROWN - MIB} {MIB}"
    said = run("qemu-io", "--image-opts", qemu_options(diskd, disk), "-c", "length", "-c", f"write -P 7 {end}", "-c", "flush", "-c", f"read -P 7 {end}")
    check("100 MiB" in said and said.count(f"{MIB}/{MIB}") == 2 and "fail" not in said, f"qemu-io at the new end: {said}")
    for h in (now, other):
        h.shutdown()


def check_grown_end(diskd, disk):
    """After whatever came since."""
    h = corner_cases.connect(str(diskd.socket_of(disk)), export=disk.name)
    check(h.get_size() == GROWN and h.pread(2 * BLOCK, SIZE - BLOCK) == b"c" * 2 * BLOCK, "what was written across the old end is lost")
    check(h.pread(MIB, GROWN - MIB) == b"\7" * MIB, "what was written at the new end is lost")
    h.shutdown()


class QemuClient:
    """Connects again by itself; told what to do line by line. Its place is its own."""

    def __init__(self, diskd, disk, place):
        self.place = place
        self.process = subprocess.Popen(["qemu-io", "--image-opts", qemu_options(diskd, disk)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)

    def say(self, *lines):
        self.process.stdin.write("".join(line + "\n" for line in lines))
        self.process.stdin.flush()

    def write_first(self):
        self.say(f"write -P 1 {self.place} 1M", "flush")
        while "wrote" not in self.process.stdout.readline():
            check(self.process.poll() is None, "qemu-io ended")

    def write_many(self):
        self.say(*(f"aio_write -P 2 {self.place + MIB + i * MIB // 4} 256k" for i in range(4)))

    def check_all_is_there(self):
        self.say("aio_flush", "flush", f"read -P 1 {self.place} 1M", f"read -P 2 {self.place + MIB} 1M", "quit")
        said = self.process.communicate(timeout=60)[0]
        bad = [word for word in ("error", "failed", "mismatch") if word in said.lower()]
        is_whole = said.count("read 1048576/1048576") == 2 and said.count("wrote 262144/262144") == 4
        check(self.process.returncode == 0 and not bad and is_whole, f"a restart was no pause: {said}")


def check_clean_restart(diskd, disk):
    clients = [QemuClient(diskd, disk, 2 * MIB * i) for i in range(3)]
    for client in clients:
        client.write_first()
    diskd.stop()  # SIGTERM
    for client in clients:
        client.write_many()
    diskd.start()
    diskd.wait_served(disk)
    for client in clients:
        client.check_all_is_there()


class Connection:
    """One of several of a client that keeps many writes on their way. What was not answered when it is lost it sends again on the next."""

    def __init__(self, diskd, disk, first_block):
        self.diskd, self.disk, self.blocks = diskd, disk, range(first_block, first_block + 256)
        self.waiting, self.content, self.failed = {}, {}, []
        self.lost = 0  # on their way when the connection was lost
        self.connect()

    def connect(self):
        self.handle = corner_cases.connect(str(self.diskd.socket_of(self.disk)), export=self.disk.name)
        check(self.handle.can_multi_conn(), "several connections are not allowed")
        for block in self.waiting:
            self.send(block)

    def send(self, block):
        def done(error):
            if error.value == 0:
                self.waiting.pop(block)
            elif error.value in LOST:
                self.lost += 1
            else:
                self.failed.append(errno.errorcode.get(error.value, error.value))
            return 1

        data = nbd.Buffer.from_bytearray(bytearray(self.waiting[block] * BLOCK))
        self.handle.aio_pwrite(data, block * BLOCK, completion=done)

    def go_on(self):
        """False: the connection is lost."""
        try:
            while len(self.waiting) < 16:
                block = random.choice([b for b in self.blocks if b not in self.waiting])
                self.waiting[block] = self.content[block] = random.randbytes(1)
                self.send(block)
            self.handle.poll(1)
        except nbd.Error:
            return False
        return not (self.handle.aio_is_dead() or self.handle.aio_is_closed())

    def settle(self):
        while self.handle.aio_in_flight():
            check(self.handle.poll(30_000), f"{len(self.waiting)} writes are unanswered")
        check(not self.waiting and not self.failed, f"unanswered after a restart: {len(self.waiting)}, failed: {self.failed}")


def check_restart_under_load(diskd, disk):
    connections = [Connection(diskd, disk, (30 + i) * MIB // BLOCK) for i in range(4)]
    for _ in range(30):
        check(all([c.go_on() for c in connections]), "a connection was lost under load")
    diskd.program.signal(signal.SIGTERM)
    left = list(connections)
    while left:
        left = [c for c in left if c.go_on()]
    diskd.program.process.wait(10)  # not asked twice: a second SIGTERM may meet a process that is past heeding it, and ends it at once
    check(diskd.program.process.returncode == 0, f"the stop was not clean: {diskd.program.process.returncode}")
    waiting = [c.lost for c in connections]
    check(all(waiting), f"not every connection had writes on their way: {waiting}")
    diskd.start()
    diskd.wait_served(disk)
    for c in connections:
        c.connect()
    for c in connections:
        c.settle()
    connections[0].handle.flush()
    for c in connections:
        wrong = [b for b, byte in c.content.items() if c.handle.pread(BLOCK, b * BLOCK) != byte * BLOCK]
        check(not wrong, f"blocks {wrong} do not hold what was acknowledged")
        c.handle.shutdown()
    print(f"{disk.disk_class}: {waiting} writes were on their way on four connections, and came through a restart", flush=True)


def story(disk_class):
    random.seed(args.seed)
    with Rig(args.bin) as rig:
        disk = rig.create("d-nbd", SIZE, disk_class)
        diskd = rig.diskd("worker-1")
        diskd.open(disk)
        check_protocol(diskd, disk)
        check_copies(rig, diskd, disk)
        check_growth(diskd, disk)
        check_clean_restart(diskd, disk)
        check_restart_under_load(diskd, disk)
        if disk_class == "remote":
            check_flush_of_another_connection(diskd, disk)
        check_grown_end(diskd, disk)
        diskd.seal(disk)
        rig.offline_check(disk)


in_parallel([lambda: story("remote"), lambda: story("local")])
print("an object disk speaks NBD to the letter")
