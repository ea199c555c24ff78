"""A client over NBD that writes stamped blocks, trims and flushes at random, many at a time, and tells a History of it."""

import errno
import random
import time

import nbd

from prefix_oracle import BLOCK, Violation, read_stamps, stamped_run

LOST = (errno.ENOTCONN, errno.ESHUTDOWN, errno.ECONNRESET, errno.EPIPE)


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def read_disk(uri, disk):
    """What the whole disk holds, as numbers of writes."""
    handle = connect(uri)
    size, step, pieces, errors = handle.get_size(), 1 << 20, {}, []

    def ask(at):
        pieces[at] = nbd.Buffer(min(step, size - at))

        def done(error):
            if error.value:
                errors.append(error.value)
            return 1

        handle.aio_pread(pieces[at], at, completion=done)

    for at in range(0, size, step):
        ask(at)
        while handle.aio_in_flight() >= 8:
            handle.poll(-1)
    while handle.aio_in_flight():
        handle.poll(-1)
    handle.shutdown()
    if errors:
        raise Violation(f"{disk}: reading fails: {errno.errorcode.get(errors[0], errors[0])}")
    return [stamp for at in sorted(pieces) for stamp in read_stamps(disk, bytes(pieces[at].to_bytearray()), at // BLOCK)]


class Writer:
    """Its connection ends when the daemon does. An error in a reply is a violation unless `may_be_refused`."""

    def __init__(self, uri, disk, history, seed, depth=16, flush=0.03, may_be_refused=False):
        self.handle, self.disk, self.history = connect(uri), disk, history
        self.random, self.depth, self.flush, self.may_be_refused = random.Random(seed), depth, flush, may_be_refused
        self.busy = {}        # first block -> count, of what is in flight: a client's own writes do not overlap
        self.in_flight = 0
        self.is_lost = False
        self.refused, self.violation = [], None
        self.flushes = 0
        self.longest_wait_s = 0.0

    def run(self, seconds, pause_s=0.0):
        """Until the time is over or the connection is lost; what is in flight then stays so."""
        end = time.monotonic() + seconds
        while not self.is_lost and time.monotonic() < end:
            while self.in_flight < self.depth and not self.is_lost:
                self.issue()
                if pause_s:
                    break
            self.poll(max(1, int(pause_s * 1000)) if pause_s else 50)

    def settle(self, limit_s=60):
        """Until every reply has come, or the connection is lost."""
        end = time.monotonic() + limit_s
        while self.in_flight and not self.is_lost:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.in_flight} requests of {self.disk.name} are unanswered after {limit_s} s")
            self.poll(50)

    def take_what_came(self):
        """The replies of a daemon that stands still: what it promised before that, and not what it promises once it goes on."""
        while not self.is_lost:
            before = self.in_flight
            self.poll(100)
            if self.in_flight == before:
                return

    def flush_now(self, limit_s=60):
        self.issue_flush()
        self.settle(limit_s)

    def close(self):
        if not self.is_lost:
            self.handle.shutdown()

    def poll(self, limit_ms):
        try:
            self.handle.poll(limit_ms)
        except nbd.Error:
            self.is_lost = True
        if self.violation:
            raise self.violation
        if self.handle.aio_is_dead() or self.handle.aio_is_closed():
            self.is_lost = True

    def issue(self):
        roll = self.random.random()
        if roll < self.flush:
            return self.issue_flush()
        place = self.free_place()
        if not place:
            return self.poll(20)
        block, count = place
        kind = self.random.choices(("write", "trim", "zero"), (85, 9, 6))[0]
        index = self.history.issue(block, count, kind == "write")
        self.busy[block] = count
        done = self.on_done(lambda: self.history.acknowledge(index), block)
        try:
            if kind == "write":
                data = nbd.Buffer.from_bytearray(bytearray(stamped_run(self.disk.name, block, count, self.history.ops[index].stamp)))
                self.handle.aio_pwrite(data, block * BLOCK, completion=done)
            elif kind == "trim":
                self.handle.aio_trim(count * BLOCK, block * BLOCK, completion=done)
            else:
                self.handle.aio_zero(count * BLOCK, block * BLOCK, completion=done)
            self.in_flight += 1
        except nbd.Error:
            self.is_lost = True

    def issue_flush(self):
        covered = self.history.acknowledged

        def acknowledged():
            self.flushes += 1
            self.history.flush_acknowledged(covered, self.disk.disk_class)

        try:
            self.handle.aio_flush(completion=self.on_done(acknowledged, None))
            self.in_flight += 1
        except nbd.Error:
            self.is_lost = True

    def free_place(self):
        blocks = self.disk.size // BLOCK
        for _ in range(20):
            roll = self.random.random()
            count = self.random.randint(1, 4) if roll < 0.8 else self.random.randint(5, 32) if roll < 0.98 else 256
            block = self.random.randrange(blocks - count)
            if all(block + count <= b or b + c <= block for b, c in self.busy.items()):
                return block, count
        return None

    def on_done(self, acknowledged, block):
        began = time.monotonic()

        def done(error):
            self.in_flight -= 1
            self.busy.pop(block, None)
            if error.value == 0:
                self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - began)
                try:
                    acknowledged()
                except Violation as violation:  # libnbd would swallow it
                    self.violation = self.violation or violation
            elif error.value not in LOST:
                self.refused.append(error.value)
            return 1

        return done

    def check_no_errors(self):
        if self.refused and not self.may_be_refused:
            raise Violation(f"{self.disk.name}: a client saw {errno.errorcode.get(self.refused[0], self.refused[0])}")
