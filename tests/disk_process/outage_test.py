"""The store hangs or refuses connections while disks of both classes are written: no client sees an error, the daemon's memory
stays bounded, /metrics shows the lag, and all goes on by itself when the store is back. --seconds for longer outages."""

import functools
import threading
import time

from prefix_oracle import BLOCK, History, read_stamps
from rig import MIB, Rig, arguments, check, in_parallel, wait_until
from stamped_writer import Writer, read_disk

args = arguments(__doc__, seconds=30)
PENDING_MAX = 64 * MIB  # of one disk: beyond it writes wait
MEMORY_GROWTH_MAX_MIB = 2 * (64 + 40) + 64 + 64  # two disks with all that may wait, and the caches


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
    began, worst_mib, worst_lag = time.monotonic(), 0.0, 0.0
    was_waiting = False
    while time.monotonic() < began + args.seconds:
        worst_mib = max(worst_mib, diskd.memory_mib())
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
    check(worst_lag > args.seconds - 8, f"{what}: /metrics shows a lag of {worst_lag:.0f} s in an outage of {args.seconds} s")
    check(was_waiting and "store" in waits, f"{what}: the disks say what they wait for: '{waits}'")
    check(worst_mib < base + MEMORY_GROWTH_MAX_MIB, f"{what}: memory grew from {base:.0f} to {worst_mib:.0f} MiB")
    check(max(unsent) <= PENDING_MAX + 2 * MIB, f"{what}: {unsent} bytes wait")
    print(f"the store {what} for {args.seconds} s: memory {base:.0f} -> {worst_mib:.0f} MiB, unsent {[u // MIB for u in unsent]} MiB, lag {worst_lag:.0f} s, "
          f"flushes during it {[d - f for d, f in zip(during, flushes)]}, all well {recovered_s:.1f} s after", flush=True)


def story(what):
    with Rig(args.bin, "s3") as rig:
        diskd = rig.diskd("worker-1")
        clients = []
        for disk_class in ("local", "remote"):
            disk = rig.create(f"d-{disk_class}", 64 * MIB, disk_class)
            diskd.open(disk)
            clients.append(Client(diskd, disk, args.seed))
        time.sleep(2)
        if what == "hangs":
            outage(rig, diskd, clients, what, lambda: rig.s3.fault({"fault": "hang"}), rig.s3.fault)
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


in_parallel([functools.partial(story, what) for what in ("hangs", "refuses")])
