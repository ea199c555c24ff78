"""The prefix oracle: a disk must hold what some prefix of its write history left, never less of it than was promised. Each block
carries its disk, its place, the number of its write and a checksum; a block of zeroes was trimmed or never written."""

import struct
import time
import zlib

BLOCK = 4096
ZEROES = bytes(BLOCK)
HEAD = struct.Struct("<16sQQQ20x")  # disk, block, number of the write, and room; a CRC follows
RECORD_BYTES = 64                   # what a write costs in the log beside its data
UNSENT_BYTES_MAX = 1 << 30          # the announced loss of class `local`
UNSENT_AGE_MAX_S = 60


class Violation(AssertionError):
    pass


def stamped(disk, block, number):
    head = HEAD.pack(disk.encode(), block, number, 0)
    return (head + zlib.crc32(head).to_bytes(4, "little")) * (BLOCK // 64)


def stamped_run(disk, block, count, number):
    return b"".join(stamped(disk, b, number) for b in range(block, block + count))


def read_stamp(disk, block, data):
    """The number of the write that left this block; 0: zeroes."""
    if data == ZEROES:
        return 0
    head = data[:60]
    said_disk, said_block, number, _ = HEAD.unpack(head)
    said_disk = said_disk.rstrip(b"\0")
    if data != data[:64] * (BLOCK // 64) or data[60:64] != zlib.crc32(head).to_bytes(4, "little"):
        raise Violation(f"{disk}: block {block} holds what nobody wrote, or two writes at once: {data[:64].hex()}")
    if said_disk != disk.encode() or said_block != block:
        raise Violation(f"{disk}: block {block} holds block {said_block} of {said_disk.decode(errors='replace')}, write {number}")
    return number


def read_stamps(disk, data, first=0):
    return [read_stamp(disk, first + i, data[i * BLOCK:(i + 1) * BLOCK]) for i in range(len(data) // BLOCK)]


class Op:
    __slots__ = ("block", "count", "stamp", "acknowledged_at")

    def __init__(self, block, count, stamp):
        self.block, self.count, self.stamp, self.acknowledged_at = block, count, stamp, None

    def cost(self):
        return RECORD_BYTES + (self.count * BLOCK if self.stamp else 0)


class History:
    """Writes of one disk in the order in which they were issued. Counts and promises are lengths of prefixes."""

    def __init__(self, disk, blocks):
        self.disk, self.base, self.ops = disk, [0] * blocks, []
        self.next_stamp = 1
        self.acknowledged = 0  # a prefix that is shorter lacks an acknowledged write
        self.flushed = 0
        self.kept_anywhere = 0  # also if this worker is lost with its log
        self.checks = self.lost = self.total = 0

    def issue(self, block, count, is_data):
        op = Op(block, count, self.next_stamp if is_data else 0)
        self.next_stamp += 1
        self.ops.append(op)
        self.total += 1
        return len(self.ops) - 1

    def acknowledge(self, index):
        self.ops[index].acknowledged_at = time.monotonic()
        self.acknowledged = max(self.acknowledged, index + 1)

    def flush_acknowledged(self, covered, disk_class):
        """The FLUSH was sent when so much had been acknowledged."""
        self.flushed = max(self.flushed, covered)
        kept = covered if disk_class == "remote" else self.within_bound(covered)
        self.kept_anywhere = max(self.kept_anywhere, kept)

    def within_bound(self, covered):
        """What the announced loss leaves at least of so much, if its FLUSH is acknowledged now."""
        unsent, oldest = 0, time.monotonic() - UNSENT_AGE_MAX_S
        while covered > 0:
            op = self.ops[covered - 1]
            unsent += op.cost()
            is_old = op.acknowledged_at is not None and op.acknowledged_at < oldest
            if unsent > UNSENT_BYTES_MAX or is_old:
                break
            covered -= 1
        return covered

    def sent_at_least(self, acknowledged, unsent_bytes):
        """The daemon said that so many bytes are not in the store, when at least so much was acknowledged."""
        while acknowledged > 0 and unsent_bytes >= self.ops[acknowledged - 1].cost():
            unsent_bytes -= self.ops[acknowledged - 1].cost()
            acknowledged -= 1
        self.kept_anywhere = max(self.kept_anywhere, acknowledged)

    # ---- checking

    def lengths(self, found):
        """Of every prefix: how many blocks of `found` it does not explain."""
        content = list(self.base)
        wrong = sum(a != b for a, b in zip(content, found))
        yield wrong
        for op in self.ops:
            for b in range(op.block, op.block + op.count):
                wrong += (op.stamp != found[b]) - (content[b] != found[b])
                content[b] = op.stamp
            yield wrong

    def content_after(self, length):
        content = list(self.base)
        for op in self.ops[:length]:
            content[op.block:op.block + op.count] = [op.stamp] * op.count
        return content

    def check(self, found, least, what):
        """The length of the longest prefix that is what was found; Violation if there is none so long as `least`."""
        self.checks += 1
        if len(found) != len(self.base):
            raise Violation(f"{what}: {self.disk} has {len(found)} blocks, and had {len(self.base)}")
        wrongs = list(self.lengths(found))
        matches = [n for n, wrong in enumerate(wrongs) if wrong == 0]
        if matches and matches[-1] >= least:
            return matches[-1]
        promised = f"{what}: {self.disk}: of {len(self.ops)} writes, {self.acknowledged} acknowledged and {self.flushed} flushed, {least} were promised"
        if matches:
            raise Violation(f"{promised}, and there are {matches[-1]}: acknowledged writes are lost")
        nearest = min(range(len(wrongs)), key=lambda n: (wrongs[n], -n))
        content = self.content_after(nearest)
        blocks = [f"block {b} holds write {have}, not {want}" for b, (have, want) in enumerate(zip(found, content)) if have != want]
        raise Violation(f"{promised}, and what is there is no prefix of them; the nearest is {nearest}, where {'; '.join(blocks[:8])}")

    def go_on_after(self, length):
        """The same log goes on: what lies beyond `length` never happened."""
        self.lost += max(0, self.acknowledged - length)
        del self.ops[length:]
        for op in self.ops:
            op.acknowledged_at = op.acknowledged_at or time.monotonic()
        self.acknowledged, self.flushed = length, min(self.flushed, length)
        self.kept_anywhere = min(self.kept_anywhere, length)

    def begin_with(self, found, length):
        """The store alone holds `found`: no later loss can take it away."""
        self.lost += max(0, self.acknowledged - length)
        self.base, self.ops = list(found), []
        self.acknowledged = self.flushed = self.kept_anywhere = 0
