"""The store hangs, refuses connections or answers that it is overloaded while disks of both classes are written: no client sees an error, the daemon keeps to the
memory that it was given, /metrics shows the lag, and all goes on by itself when the store is back. --seconds for longer outages."""

import functools
import threading
import time

from prefix_oracle import BLOCK, History, read_stamps
from rig import MIB, Rig, arguments, check, in_parallel, wait_until
from stamped_writer import Writer, read_disk

args = arguments(__doc__, seconds=30, memory_mib=128)
UNSENT_MAX = args.memory_mib * MIB // 5  # of all disks, the part of the memory for what waits: beyond it writes wait


class Client:
    """Writes on and on, in a thread of its own, and flushes now and then."""

    def __init__(self, diskd, disk, seed):
        self.disk, self.history = disk, History(disk.name, disk.size // BLOCK)
        self.writer = Writer(diskd.uri(disk), disk, self.history, seed, depth=16, flush=0.002)
        self.is_stopped, self.error = False, None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            while not self.is_stopped and not self.writer.is_lost:
                self.writer.run(0.2)
        except Exception as error:
            self.error = error

    def check(self):
        check(not self.error, f"{self.disk.name}: {self.error}")
        check(not self.writer.is_lost, f"{self.disk.name}: the connection was lost")
        self.writer.check_no_errors()

    def stop(self):
        self.is_stopped = True
        self.thread.join(30)
        check(not self.thread.is_alive(), f"{self.disk.name}: its client hangs")
        self.writer.flush_now(120)
        self.check()


def outage(rig, diskd, clients, what, begin, end):
    flushes = [c.writer.flushes for c in clients]
    base = diskd.memory_mib()
    begin()
    began, worst_lag = time.monotonic(), 0.0
    was_waiting = False
    while time.monotonic() < began + args.seconds:
        worst_lag = max(worst_lag, diskd.metric("ebb_disk_unsent_age_seconds") / len(clients))
        was_waiting |= diskd.metric("ebb_disk_waiting") >= len(clients)
        for client in clients:
            client.check()
        time.sleep(0.25)
    unsent = [diskd.status_of(c.disk.name)["unsent_bytes"] for c in clients]
    waits = diskd.status_of(clients[0].disk.name)["waiting_for"]
    during = [c.writer.flushes for c in clients]
    end()
    back = time.monotonic()
    wait_until(lambda: all(c.writer.flushes > n + 2 for c, n in zip(clients, during)), 60, "FLUSH is acknowledged again")
    wait_until(lambda: diskd.metric("ebb_disk_unsent_age_seconds") < 10 and diskd.metric("ebb_disk_waiting") == 0, 60, "the lag is made up for")
    recovered_s = time.monotonic() - back
    peak = diskd.peak_mib()  # also of the recovery, when all that waits is sent at once
    check(worst_lag > args.seconds - 8, f"{what}: /metrics shows a lag of {worst_lag:.0f} s in an outage of {args.seconds} s")
    check(was_waiting and "store" in waits, f"{what}: the disks say what they wait for: '{waits}'")
    check(peak < args.memory_mib * 1.2, f"{what}: memory grew from {base:.0f} to {peak:.0f} MiB of {args.memory_mib} configured")
    # Half of it, or this was no trial. A disk of which nothing waits may always add one request, of 1 MiB at most.
    check(UNSENT_MAX // 2 < sum(unsent) <= UNSENT_MAX + MIB, f"{what}: {unsent} bytes wait, of {UNSENT_MAX}")
    print(f"the store {what} for {args.seconds} s: memory {base:.0f} -> {peak:.0f} MiB of {args.memory_mib} configured, "
          f"unsent {[u // MIB for u in unsent]} MiB, lag {worst_lag:.0f} s, flushes during it {[d - f for d, f in zip(during, flushes)]}, "
          f"all well {recovered_s:.1f} s after", flush=True)


def story(what):
    with Rig(args.bin, "s3") as rig:
        diskd = rig.diskd("worker-1", memory=f"{args.memory_mib}MiB")
        clients = []
        for disk_class in ("local", "remote"):
            disk = rig.create(f"d-{disk_class}", 64 * MIB, disk_class)
            diskd.open(disk)
            clients.append(Client(diskd, disk, args.seed))
        time.sleep(2)
        faults = {"hangs": "hang", "answers SlowDown": "slow_down"}
        if what in faults:
            outage(rig, diskd, clients, what, lambda: rig.s3.fault({"fault": faults[what]}), rig.s3.fault)
        else:
            outage(rig, diskd, clients, what, lambda: rig.s3.plan(refuse_ms=args.seconds * 1000), lambda: None)
        for client in clients:
            client.stop()
            client.history.check(read_disk(diskd.uri(client.disk), client.disk.name), client.history.acknowledged, "after the outage")
        # What came through it is in the store, whole.
        for client in clients:
            client.writer.close()
            diskd.seal(client.disk)
            data = rig.offline_copy(client.disk).read_bytes()
            client.history.check(read_stamps(client.disk.name, data), client.history.acknowledged, "sealed, and read offline")
            print(f"{what}, {client.disk.disk_class}: {client.history.total} writes, the longest request took {client.writer.longest_wait_s:.1f} s, "
                  "none failed", flush=True)


in_parallel([functools.partial(story, what) for what in ("hangs", "refuses", "answers SlowDown")])
