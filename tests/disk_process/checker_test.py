"""The prefix oracle finds what it is there to find: lost, mixed, misplaced and reordered writes that are fed to it, and a log of
ebb-diskd that was damaged on purpose. What the daemon itself can see of that damage, it refuses to open."""

import re
import time

from prefix_oracle import BLOCK, History, Violation, read_stamp, stamped
from rig import MIB, Refused, Rig, arguments, check
from stamped_writer import Writer, read_disk

args = arguments(__doc__)


def must_find(pattern, action):
    try:
        action()
    except Violation as violation:
        check(re.search(pattern, str(violation)), f"another violation than '{pattern}': {violation}")
        return
    raise AssertionError(f"not found: {pattern}")


def history_of(*ops):
    history = History("d", 8)
    for block, count, is_data in ops:
        history.acknowledge(history.issue(block, count, is_data))
    return history


def blocks_are_told_apart():
    good = stamped("d", 3, 7)
    check(read_stamp("d", 3, good) == 7 and read_stamp("d", 3, bytes(BLOCK)) == 0, "a good block is read")
    must_find("nobody wrote", lambda: read_stamp("d", 3, good[:-1] + b"\1"))
    must_find("two writes at once", lambda: read_stamp("d", 3, good[:BLOCK // 2] + stamped("d", 3, 8)[BLOCK // 2:]))
    must_find("holds block 3", lambda: read_stamp("d", 4, good))
    must_find("of d, write 7", lambda: read_stamp("e", 3, good))


def histories_are_held_to_their_promise():
    history = history_of((0, 2, True), (1, 2, True), (0, 1, False))
    whole = [0, 2, 2, 0, 0, 0, 0, 0]
    check(history.check(whole, 3, "all") == 3, "the whole history is a prefix")
    check(history.check([1, 2, 2, 0, 0, 0, 0, 0], 0, "two") == 2, "a shorter one is one too")
    check(history.check([0] * 8, 0, "none") == 0, "so is none of it")
    must_find("acknowledged writes are lost", lambda: history.check([1, 2, 2, 0, 0, 0, 0, 0], 3, "the last one is lost"))
    must_find("no prefix", lambda: history.check([0, 1, 0, 0, 0, 0, 0, 0], 0, "one in the middle is lost"))
    must_find("no prefix", lambda: history.check([0, 2, 1, 0, 0, 0, 0, 0], 0, "half a write is older"))
    must_find("no prefix", lambda: history.check([0, 2, 2, 9, 0, 0, 0, 0], 0, "a write from nowhere"))
    must_find("has 7 blocks", lambda: history.check(whole[:7], 0, "a shorter disk"))


def promises_follow_class_and_bound():
    history = history_of((0, 2, True), (1, 2, True))
    history.flush_acknowledged(2, "local")
    check((history.flushed, history.kept_anywhere) == (2, 0), "a FLUSH of class local promises nothing elsewhere yet")
    history.ops[0].acknowledged_at = time.monotonic() - 61
    history.flush_acknowledged(2, "local")
    check(history.kept_anywhere == 1, "but what is older than the bound")
    history.flush_acknowledged(2, "remote")
    check(history.kept_anywhere == 2, "and class remote everything")
    history = history_of((0, 2, True), (1, 2, True), (3, 1, True))
    history.sent_at_least(3, 5000)
    check(history.kept_anywhere == 2, "of 5000 unsent bytes only the last write can be one")


def records_of(log, magic=b"EWR1"):
    """(where it is, its synced position, its end as a position of the log, its bytes, its file) of each that holds data: not of padding"""
    data, at, found = log.read_bytes(), BLOCK, []
    while data[at:at + 4] == magic:
        position, synced = (int.from_bytes(data[at + i:at + i + 8], "little") for i in (16, 24))
        length = 64 + int.from_bytes(data[at + 52:at + 56], "little")
        if data[at + 12:at + 16] == bytes(4):
            found.append((at, synced, position + length, length, log))
        at += length
    return found


def run_damaged(name, pick, verdict):
    """Writes that only the log has; kill -9; the last byte of the record that `pick` chooses is flipped; what comes of a restart."""
    with Rig(args.bin, "s3") as rig:
        disk = rig.create(name, 8 * MIB, "local")
        history = History(name, disk.size // BLOCK)
        diskd = rig.diskd("worker-1")
        diskd.open(disk)
        rig.s3.fault({"fault": "hang", "method": "PUT"})
        writer = Writer(diskd.uri(disk), disk, history, args.seed, depth=4, flush=0.0)
        for _ in range(2):
            writer.run(0.1)
            writer.flush_now()
        writer.run(0.1)
        writer.settle()
        diskd.kill()
        # A quick machine fills several files in that time.
        at, _, _, length, log = pick([r for log in sorted(diskd.state.glob("disks/*/log-*/*.wal")) for r in records_of(log)])
        data = bytearray(log.read_bytes())
        data[at + length - 1] ^= 1
        log.write_bytes(data)
        rig.s3.fault()
        diskd.start()
        verdict(rig, diskd, disk, history, bytes(data), log)


def a_lost_tail_is_found():
    def last_with_data(records):
        synced = max(r[1] for r in records)
        later = [r for r in records if r[2] > synced]
        check(later, "writes after the last sync")
        return later[-1]

    def verdict(rig, diskd, disk, history, *_):
        diskd.wait_served(disk)
        found = read_disk(diskd.uri(disk), disk.name)
        must_find("acknowledged writes are lost", lambda: history.check(found, history.acknowledged, "a torn tail"))
        check(history.check(found, history.flushed, "what was flushed") >= history.flushed, "what was synced is there")

    run_damaged("d-torn", last_with_data, verdict)


def damage_below_the_synced_position_is_refused():
    def early(records):
        synced = max(r[1] for r in records)
        below = [r for r in records if r[2] <= synced]
        check(below, "synced records")
        return below[len(below) // 2]

    def verdict(rig, diskd, disk, history, data, log):
        try:
            diskd.wait_served(disk)
        except Refused as refusal:
            check("log" in str(refusal), f"the refusal names the log: {refusal}")
        else:
            raise AssertionError("a log with damage below its synced position was opened")
        check(log.read_bytes() == data, "the damaged log is kept as it is")

    run_damaged("d-damaged", early, verdict)


for story in (blocks_are_told_apart, histories_are_held_to_their_promise, promises_follow_class_and_bound, a_lost_tail_is_found,
              damage_below_the_synced_position_is_refused):
    story()
    print(f"ok: {story.__name__.replace('_', ' ')}", flush=True)
