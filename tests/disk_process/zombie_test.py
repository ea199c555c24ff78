"""A disk daemon that is stopped in the middle of its work and goes on after another worker has taken its disk over: nothing that it
does reaches the disk, it acknowledges no FLUSH of anything the successor lacks, and it finds out what it is. With --store radosgw on
Ceph's: there in two phases alone, since that store holds no request up for us."""

import functools
import json
import os
import random
import signal
import subprocess
import threading
import time

from prefix_oracle import BLOCK, History, Violation, read_stamps
from rig import MIB, Disk, Refused, Rig, arguments, check, in_parallel, wait_until
from stamped_writer import Writer, read_disk

args = arguments(__doc__, rounds=1, store="s3")
SLOW_PUTS = {"fault": "latency", "method": "PUT", "ms": 250, "jitter_ms": 250}


class Zombie(History):
    """The history of who is stopped: what it may still promise once it goes on is what the successor has found."""

    kept_by_successor = None

    def flush_acknowledged(self, covered, disk_class):
        if self.kept_by_successor is not None and covered > self.kept_by_successor:
            raise Violation(f"{self.disk}: a FLUSH of {covered} writes was acknowledged after a take-over that kept {self.kept_by_successor}")
        super().flush_acknowledged(covered, disk_class)


def frozen_idle(first, disk, writer):
    """All is acknowledged, nothing of it flushed."""
    writer.run(0.3)
    writer.settle()
    first.freeze()


def frozen_under_load(first, disk, writer):
    writer.run(random.uniform(0.2, 0.6))
    first.freeze()


def hold_up(rig, method, kind):
    """Until somebody is frozen in a request for that kind of object; then the request reaches the store after all, late."""
    return rig.s3.hold_up(method, f"cell-1/{kind}/", 3000)


def check_held(rig, what):
    """Of who stands still: not answered before that, so that it stands where the story wants it."""
    time.sleep(0.2)  # what is not held is answered by now
    check(not rig.s3.is_quiet(), f"{what}: the store had answered before it stood still")


def freeze_in(daemon, await_it, what, count=1):
    await_it(what, count)
    daemon.freeze()
    check_held(daemon.rig, what)


def ask_in_vain(diskd, verb, disk, /, **more):
    """In a thread of its own, since no answer may come."""
    def ask():
        try:
            diskd.request("POST", f"/{verb}", {"disk": disk.name, "pool": "main", "epoch": 1, **more}, timeout_s=60)
        except OSError:
            pass
    threading.Thread(target=ask, daemon=True).start()


def frozen_in_flush(first, disk, writer):
    """Segments are on their way, and in class `remote` a FLUSH waits for them."""
    writer.run(0.2)
    await_it = hold_up(first.rig, "PUT", "s")
    writer.run(0.2)
    writer.issue_flush()
    writer.poll(50)
    freeze_in(first, await_it, "a segment is on its way")


def come_back_held_up(first, writer, method, kind):
    """After a crash; the store answers one kind of request late."""
    writer.run(0.4)
    first.kill()
    writer.settle()
    await_it = hold_up(first.rig, method, kind)
    first.start()
    return await_it


def frozen_in_recovery(first, disk, writer):
    """It reads its log, or has put a fence behind it, which decides where that ended."""
    method = random.choice(("GET", "PUT"))
    freeze_in(first, come_back_held_up(first, writer, method, "s"), f"the recovery's {method} is on its way")


def frozen_in_claim(first, disk, writer):
    """Its change of HEAD is on its way: the first to `attaching`, the second to `attached`."""
    count = random.choice((1, 2))
    freeze_in(first, come_back_held_up(first, writer, "PUT", "v"), f"change {count} of HEAD is on its way", count)


def frozen_in_seal(first, disk, writer):
    """Everything else is in the store, and its own fence is on its way, or HEAD."""
    writer.run(0.3)
    writer.settle()
    wait_until(lambda: first.status_of(disk.name)["unsent_bytes"] == 0, 30, "all is sent")
    kind = random.choice("sv")
    await_it = hold_up(first.rig, "PUT", kind)
    ask_in_vain(first, "seal", disk)
    freeze_in(first, await_it, f"the seal's PUT of {kind}/ is on its way")


def frozen_while_a_snapshot_puts(kind, first, disk, writer):
    writer.run(0.3)
    writer.settle()
    await_it = hold_up(first.rig, "PUT", kind)
    ask_in_vain(first, "snapshot", disk, name="s1", request="wish-1")
    freeze_in(first, await_it, f"the snapshot's PUT of {kind}/ is on its way")


def frozen_in_checkpoint(first, disk, writer):
    frozen_while_a_snapshot_puts("m", first, disk, writer)


def frozen_in_snapshot(first, disk, writer):
    frozen_while_a_snapshot_puts("r", first, disk, writer)


def frozen_in_growth(first, disk, writer):
    """HEAD with its new size is on its way: it has grown, or it has not."""
    writer.run(0.3)
    writer.settle()
    await_it = hold_up(first.rig, "PUT", "v")
    ask_in_vain(first, "resize", disk, size_bytes=2 * disk.size)
    freeze_in(first, await_it, "HEAD with a new size is on its way")


def frozen_in_cleaning(first, disk, writer):
    """What it has gathered from objects that are mostly dead is on its way, and no checkpoint names it yet."""
    first.rig.s3.fault()
    for _ in range(4):
        writer.run(0.5)
        writer.flush_now()
    await_it = hold_up(first.rig, "PUT", "g")
    writer.run(0.2)  # what was cleaned until now need not be all that there is to clean
    writer.settle()
    ask_in_vain(first, "snapshot", disk, name="s1", request="wish-1")  # its checkpoint makes the dead ones known
    freeze_in(first, await_it, "cleaned data is on its way")


def segments_of(rig, epoch):
    """Keys in the log, fences too."""
    return {key for key in rig.s3.keys("cell-1/s/") if f"/{epoch:012x}-" in key}


def cleaned_of(rig, disk):
    return set(rig.s3.keys(f"cell-1/g/{disk.name}/"))


def clean_and_reclaim(rig, disk, writer, found):
    """The successor overwrites at random what it took over, so that objects of both are cleaned and removed while the zombie stands."""
    of_zombie, cleaned_before, gone_of_zombie = segments_of(rig, 1), cleaned_of(rig, disk), set()
    gone = turns = 0
    # The snapshot that it was asked for before it froze, if it came to that: all that was there then stays.
    head = json.loads(rig.tool("ebb-disk", "head", "--pool", rig.pool, disk.name).stdout)
    is_kept = head.get("roots") is not None or not any(found)

    def is_enough():
        return turns >= 6 and gone > len(gone_of_zombie) and (gone_of_zombie or is_kept) and cleaned_of(rig, disk) - cleaned_before

    while not is_enough():  # class `local` makes few segments, and seldom a checkpoint
        check(turns < 60, f"{gone} objects were reclaimed, {len(gone_of_zombie)} of the zombie's {of_zombie}; there is {cleaned_of(rig, disk)}; {head}")
        writer.run(0.5)
        writer.flush_now()
        gone += rig.reclaim(disk)
        gone_of_zombie = of_zombie - segments_of(rig, 1)
        turns += 1
    return f"; {gone} objects were reclaimed while it stood, {len(gone_of_zombie)} of its segments among them"


def content(disk, blocks):
    """Of the size that it was made with: what it has grown by reads as zeroes."""
    size = disk.size // BLOCK
    check(len(blocks) in (size, 2 * size) and not any(blocks[size:]), f"{disk.name} has {len(blocks)} blocks, where it was made with {size}")
    return blocks[:size]


def served_content(daemon, disk):
    return content(disk, read_disk(daemon.uri(disk), disk.name))


def knows(first, disk):
    """What a zombie says of a disk that is no longer its own."""
    status = first.status_of(disk.name)
    return status is None or status["state"] in ("fenced", "sealed", "failed")


def go_on_as_zombie(first, disk, history, writer, seed):
    """Whoever was connected goes on asking for more, and so does somebody new."""
    first.thaw()
    end = time.monotonic() + 30
    try:
        other = Writer(first.uri(disk), disk, history, seed + 1, may_be_refused=True)
    except Exception:  # not served any more, or not yet: then there is nobody to ask
        other = None
    for client in (writer, other):
        if not client:
            continue
        while time.monotonic() < end and not client.is_lost and not client.refused:
            client.run(0.2, pause_s=0.01)
            if not client.is_lost:
                client.issue_flush()
        check(client.is_lost or client.refused, "the zombie serves its clients on")
    wait_until(lambda: knows(first, disk), 30, "the zombie knows what it is")


def story(phase, disk_class, settle, seed, meanwhile=(), is_reclaimed=False):
    """`meanwhile`: faults of the store while the zombie goes on. `is_reclaimed`: its successor cleans, and reclaim runs, before that."""
    random.seed(seed)
    with Rig(args.bin, args.store) as rig:
        disk = rig.create("d-zombie", 8 * MIB, disk_class)
        first, second = rig.diskd("worker-1"), rig.diskd("worker-2", settle=settle)
        first.open(disk)
        rig.s3.fault(SLOW_PUTS)
        history = Zombie(disk.name, disk.size // BLOCK)
        writer = Writer(first.uri(disk), disk, history, seed, flush=0.02, may_be_refused=True)
        phase(first, disk, writer)
        writer.take_what_came()
        rig.s3.fault()

        second.open(disk, take_over=True)
        found = served_content(second, disk)
        history.kept_by_successor = history.check(found, history.kept_anywhere, "after the take-over")
        after = History(disk.name, disk.size // BLOCK)
        after.begin_with(found, 0)
        after.next_stamp = history.next_stamp + 10 ** 9
        successor = Writer(second.uri(disk), disk, after, seed + 2, flush=0.1)
        successor.run(0.3)
        reclaimed = clean_and_reclaim(rig, disk, successor, found) if is_reclaimed else ""

        rig.s3.fault(*meanwhile)
        going_on = threading.Thread(target=lambda: successor.run(1.5))
        going_on.start()
        go_on_as_zombie(first, disk, history, writer, seed)
        going_on.join()
        rig.s3.fault()
        successor.flush_now()
        successor.check_no_errors()
        successor.close()
        after.check(served_content(second, disk), after.acknowledged, "while the zombie lives")
        # And as the store has it: once opened from there, and once read offline.
        second.kill()
        second.start()
        second.wait_served(disk)
        after.check(served_content(second, disk), after.acknowledged, "opened again")
        head = json.loads(rig.tool("ebb-disk", "head", "--pool", rig.pool, disk.name).stdout)
        check(head["owner"] == "worker-2" and head["state"] == "attached", f"{head}")
        request = dict(disk=disk.name, pool="main", epoch=1, disk_class=disk_class, read_only=False, take_over=True)
        try:  # with a long log of its own it takes a while to find out
            wait_until(lambda: first.served(first.ask("open", **request)), 30, "the zombie opens the disk, or not")
            check(False, "the zombie was allowed to open the disk under its old epoch")
        except Refused as refusal:
            check(refusal.status in (409, "fenced"), f"{refusal}")
        if is_reclaimed:  # once more, with what the zombie has done since
            rig.reclaim(disk)
        second.seal(disk)
        data = rig.offline_copy(disk).read_bytes()
        after.check(content(disk, read_stamps(disk.name, data)), after.acknowledged, "sealed, and read offline")
        rig.scrub(disk)
        print(f"{phase.__name__.replace('_', ' ')}, {disk_class}: {history.acknowledged} writes acknowledged by the first owner, "
              f"{history.kept_by_successor} found, {after.acknowledged} by the second and all there{reclaimed}", flush=True)


def standby_is_frozen(seed):
    """Prepared to take the disk, stopped in the midst of reading its map, and asked to open it when that map is long gone."""
    random.seed(seed)
    with Rig(args.bin, "s3") as rig:
        disk = rig.create("d-standby", 8 * MIB, "remote")
        first, second = rig.diskd("worker-1"), rig.diskd("worker-2")
        first.open(disk)
        history = History(disk.name, disk.size // BLOCK)
        writer = Writer(first.uri(disk), disk, history, seed, flush=0.02)
        writer.run(0.6)
        writer.flush_now()
        await_it = hold_up(rig, "GET", random.choice("vms"))
        asking = dict(disk=disk.name, pool="main", epoch=disk.epoch + 1)
        threading.Thread(target=lambda: second.request("POST", "/standby", asking), daemon=True).start()
        freeze_in(second, await_it, "it reads")
        rig.s3.fault()
        gone = 0
        for _ in range(3):  # checkpoints, and what they no longer need goes
            writer.run(0.5)
            writer.flush_now()
            writer.close()
            first.seal(disk)
            gone += rig.reclaim(disk)
            first.open(disk)
            writer = Writer(first.uri(disk), disk, history, random.randrange(1 << 30), flush=0.02)
        writer.close()
        first.seal(disk)
        check(gone > 0, "nothing had gone meanwhile")
        second.thaw()
        second.open(disk)
        history.check(read_disk(second.uri(disk), disk.name), history.acknowledged, "opened by who had stood by")
        print(f"a standby that was frozen: {history.acknowledged} writes, all found; {gone} objects had gone meanwhile", flush=True)


def reclaim_is_frozen(seed):
    """Stopped between two of its removals, while the disk goes on, is cleaned, and another one reclaims; then it removes what it had
    decided long ago."""
    random.seed(seed)
    with Rig(args.bin, "s3") as rig:
        disk = rig.create("d-reclaim", 8 * MIB, "remote")
        first = rig.diskd("worker-1")
        first.open(disk)
        history = History(disk.name, disk.size // BLOCK)
        def live_on(turns):
            """Each ends with a checkpoint, which says what is no longer needed."""
            for _ in range(turns):
                writer = Writer(first.uri(disk), disk, history, random.randrange(1 << 30), flush=0.02)
                writer.run(0.5)
                writer.flush_now()
                writer.close()
                first.seal(disk)
                first.open(disk)

        live_on(4)
        await_it = rig.s3.hold_up("DELETE", "cell-1/", 3000)
        zombie = rig.run([rig.bin / "ebb-bench-disk", "reclaim", rig.pool, disk.name], "reclaim.log", stdout=subprocess.PIPE)
        await_it("it removes")
        os.kill(zombie.pid, signal.SIGSTOP)
        check_held(rig, "it removes")
        rig.s3.fault()
        live_on(3)
        again = rig.reclaim(disk)
        check(again > 0, "nothing was left for another to remove")
        live_on(2)
        os.kill(zombie.pid, signal.SIGCONT)
        zombie.wait(60)
        first.kill()
        first.start()
        first.wait_served(disk)
        history.check(read_disk(first.uri(disk), disk.name), history.acknowledged, "after a reclaim of long ago")
        first.seal(disk)
        rig.scrub(disk)
        print(f"a reclaim that was frozen: {history.acknowledged} writes, all found; {again} objects removed by another meanwhile", flush=True)


def rescue_is_frozen(seed):
    """Stopped while it writes what was lost with its host into a disk of its own. Either nobody minds, and it comes to its end; or that
    disk is taken over meanwhile: then it changes nothing there, and the log is kept for another try."""
    random.seed(seed)
    with Rig(args.bin, "s3") as rig:
        disk = rig.create("d-rescue", 8 * MIB, "local")
        first, second, third = (rig.diskd(f"worker-{n}") for n in (1, 2, 3))
        first.open(disk)
        history = History(disk.name, disk.size // BLOCK)
        writer = Writer(first.uri(disk), disk, history, seed, flush=0.02)
        writer.run(0.3)
        writer.settle()
        wait_until(lambda: first.status_of(disk.name)["unsent_bytes"] == 0, 30, "all is sent")
        rig.s3.fault({"fault": "slow_down", "method": "PUT", "prefix": "cell-1/s/"})
        writer.run(0.4)
        first.kill()
        writer.settle()
        rig.s3.fault()
        second.open(disk, take_over=True, cuts=[{"name": "cut", "request": "wish-1"}])
        kept = history.check(read_disk(second.uri(disk), disk.name), history.kept_anywhere, "after the take-over")
        check(history.acknowledged > kept, "nothing was lost with the host")
        first.start()
        wait_until(lambda: first.status()["orphan_logs"], 30, "the log of lost writes is told of")
        log_id = first.status()["orphan_logs"][0]["log_id"]

        def fork(name):
            done = rig.tool("ebb-bench-disk", "fork", rig.pool, disk.name, name, disk.size, 1, "cut")
            check(done.returncode == 0, done.stderr)
            into = Disk(f"{name}-1", disk.size, "remote")
            into.epoch = 1
            return into

        def wish(into):
            return dict(disk=disk.name, pool="main", log_id=log_id, into=into.name, epoch=1, disk_class="remote")

        def freeze(into):
            kind = random.choice("sv")
            await_it = hold_up(rig, "PUT", kind)
            ask_in_vain(first, "rescue", disk, **wish(into))
            freeze_in(first, await_it, f"the rescue's PUT of {kind}/ is on its way")
            rig.s3.fault()

        def ended(into):
            try:
                return first.ask("rescue", **wish(into))
            except Refused as refusal:
                if "being written" not in str(refusal):
                    raise

        def is_kept():
            """The log. What a rescue had written to a disk that was then taken over from it is orphaned as well, and told of by itself."""
            return any(log["log_id"] == log_id for log in first.status()["orphan_logs"])

        def stamps(into):
            return read_stamps(disk.name, rig.offline_copy(into).read_bytes())

        taken = fork("d-taken")
        freeze(taken)
        third.open(taken, take_over=True)
        before = read_disk(third.uri(taken), disk.name)
        history.check(before, kept, "the disk that was taken over from a rescue")
        first.thaw()
        try:
            wait_until(lambda: ended(taken), 60, "the rescue into a disk that is another's ends")
            check(False, "a rescue into a disk that is another's succeeded")
        except Refused:
            pass
        check(is_kept(), "the log is kept")
        third.seal(taken)
        check(stamps(taken) == before, "a rescue wrote to a disk that had been taken over from it")

        whole = fork("d-whole")
        freeze(whole)
        time.sleep(random.uniform(0, 4))  # what is on its way arrives meanwhile, or not
        first.thaw()
        wait_until(lambda: ended(whole), 60, "the rescue comes to its end")
        check(not is_kept(), f"the log is gone: {first.status()['orphan_logs']}")
        history.check(stamps(whole), history.acknowledged, "rescued")
        rig.scrub(whole)
        print(f"a rescue that was frozen: {history.acknowledged} writes acknowledged, {kept} found, all of them in the rescued disk", flush=True)


def promises_too_much():
    """Without the wait after a take-over, and where the store is too slow to say so, class `local` does acknowledge a FLUSH that the
    successor knows nothing of: so that the checker would see it."""
    try:
        story(frozen_idle, "local", "0s", args.seed, meanwhile=[{"fault": "latency", "ms": 2000}])
    except Violation as violation:
        check("acknowledged after a take-over" in str(violation), f"{violation}")
        print("a successor that does not wait, local: found out", flush=True)
        return
    check(False, "a FLUSH that the successor knows nothing of was not found")


FREEZES = (frozen_idle, frozen_under_load, frozen_in_flush, frozen_in_recovery, frozen_in_claim, frozen_in_seal, frozen_in_checkpoint,
           frozen_in_snapshot, frozen_in_growth, frozen_in_cleaning)


def of_class_local(freeze, seed, **more):
    """It acknowledges by its own log: the successor serves only when nobody can believe that any more."""
    return functools.partial(story, freeze, "local", "15s", seed, **more)


def stories_of(turn):
    """Those of class `local` take their time: one phase, and another where reclaim runs meanwhile; not the last, whose snapshot keeps all."""
    seed = args.seed + turn
    stories = [of_class_local(FREEZES[(seed + 1) % (len(FREEZES) - 1)], seed, is_reclaimed=True)]
    stories += [of_class_local(freeze, seed) for freeze in (FREEZES if turn == 0 and args.rounds > 1 else [FREEZES[seed % len(FREEZES)]])]
    return stories + [functools.partial(story, freeze, "remote", "0s", seed, is_reclaimed=True) for freeze in FREEZES]


if args.store == "radosgw":
    in_parallel([of_class_local(frozen_idle, args.seed, is_reclaimed=True),
                 functools.partial(story, frozen_under_load, "remote", "0s", args.seed, is_reclaimed=True)])
else:
    stories = [promises_too_much, functools.partial(standby_is_frozen, args.seed), functools.partial(reclaim_is_frozen, args.seed),
               functools.partial(rescue_is_frozen, args.seed)]
    in_parallel(sum(map(stories_of, range(args.rounds)), stories))
