"""Disks are what a prefix of their writes left, and no promised write is missing: when ebb-diskd is killed under load, when its
host is lost with all its state, when another worker takes over, and when the first one comes back with its old log.

In each round something dies at a random moment. Each once; --rounds N for N of them on each disk. --store for one store alone: Ceph's
radosgw, and our server over HTTPS, are there only so."""

import functools
import random
import time

from prefix_oracle import History, read_stamps
from rig import BAD_STORE, MIB, Rig, arguments, check, in_parallel, wait_until
from stamped_writer import Writer, read_disk

args = arguments(__doc__, rounds=3, seconds=0.5, store="")


class Story:
    """One disk, two workers that may have it, and what happens to them."""

    def __init__(self, rig, disk_class, seed):
        self.rig, self.random = rig, random.Random(seed)
        self.disk = rig.create(f"d-{disk_class}", 16 * MIB, disk_class)
        self.history = History(self.disk.name, self.disk.size // 4096)
        self.workers = [rig.diskd("worker-1"), rig.diskd("worker-2")]
        self.at = 0
        self.here.open(self.disk)
        self.counts = {}

    @property
    def here(self):
        return self.workers[self.at]

    @property
    def there(self):
        return self.workers[1 - self.at]

    def load(self):
        """Leaves requests in flight."""
        writer = Writer(self.here.uri(self.disk), self.disk, self.history, self.random.random(), depth=self.random.choice((1, 4, 16, 32)),
                        flush=self.random.choice((0.0, 0.02, 0.2)))
        writer.run(self.random.uniform(0.1, 2 * args.seconds))
        return writer

    def end(self, writer):
        """After the daemon is gone: replies that had been sent still count."""
        writer.settle()
        check(writer.is_lost or not writer.in_flight, "the connection outlived its daemon")
        writer.check_no_errors()
        self.counts["flushes"] = self.counts.get("flushes", 0) + writer.flushes

    def found(self):
        return read_disk(self.here.uri(self.disk), self.disk.name)

    def ask_lag(self):
        acknowledged = self.history.acknowledged
        self.history.sent_at_least(acknowledged, self.here.status_of(self.disk.name)["unsent_bytes"])

    # ---- what happens

    def kill(self):
        """Of a process alone: nothing acknowledged is missing."""
        writer = self.load()
        self.here.kill()
        self.end(writer)
        self.here.start()
        if self.random.random() < 0.3:  # and once more, while it recovers
            time.sleep(self.random.uniform(0, 0.1))
            self.here.kill()
            self.here.start()
        self.here.wait_served(self.disk)
        length = self.history.check(self.found(), self.history.acknowledged, "after kill -9")
        self.history.go_on_after(length)

    def lose_host(self):
        """The process, its state and its log: what was flushed is there (remote), or within the announced loss (local)."""
        writer = self.load()
        if self.random.random() < 0.7:
            self.ask_lag()
        self.here.kill()
        self.end(writer)
        self.here.lose_state()
        self.at = 1 - self.at
        self.here.open(self.disk, take_over=True)
        found = self.found()
        self.history.begin_with(found, self.history.check(found, self.history.kept_anywhere, "after its host was lost"))
        self.there.start()

    def take_over_and_return(self):
        """The first worker comes back with a log that the disk has gone on without: it is kept, told of, and never replayed."""
        writer = self.load()
        self.here.kill()
        self.end(writer)
        self.at = 1 - self.at
        self.here.open(self.disk, take_over=True)
        found = self.found()
        length = self.history.check(found, self.history.kept_anywhere, "after a take-over")
        was_lost = self.history.acknowledged > length
        self.history.begin_with(found, length)
        self.there.start()
        wait_until(lambda: (self.there.status_of(self.disk.name) or {"state": "failed"})["state"] not in ("opening", "open"), 30,
                   "the former owner knows that it is not")
        if was_lost:
            wait_until(lambda: self.disk.name in self.there.status()["unsent_logs"], 30, "the log of lost writes is kept, and told of")
            self.counts["orphaned logs"] = self.counts.get("orphaned logs", 0) + 1
        writer = self.load()
        writer.flush_now()
        writer.check_no_errors()
        writer.close()
        self.here.seal(self.disk)
        self.at = 1 - self.at
        self.here.open(self.disk)
        length = self.history.check(self.found(), self.history.acknowledged, "after a move back to a worker with an old log")
        self.history.begin_with(self.found(), length)
        if was_lost:
            check(self.disk.name in self.here.status()["unsent_logs"], "the log of lost writes is still kept")

    def carry_out(self, event):
        self.counts[event.__name__] = self.counts.get(event.__name__, 0) + 1
        event()

    def finish(self):
        """Sealed, and read from the pool alone."""
        self.here.seal(self.disk)
        self.rig.offline_check(self.disk)
        data = self.rig.offline_copy(self.disk).read_bytes()
        self.history.check(read_stamps(self.disk.name, data), self.history.acknowledged, "sealed, and read offline")
        what = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in sorted(self.counts.items()))
        print(f"{self.rig.store}, {self.disk.disk_class}: {self.history.total} writes, {what}; {self.history.checks} checks, "
              f"{self.history.lost} acknowledged writes lost with their host, as announced", flush=True)


def tell(store, disk_class, seed):
    with Rig(args.bin, store) as rig:
        story = Story(rig, disk_class, seed)
        if rig.s3:
            rig.s3.fault(*BAD_STORE, seed=seed % 1000)
        # Each event once, then as it comes.
        for event in (story.kill, story.lose_host, story.take_over_and_return):
            story.carry_out(event)
        for _ in range(args.rounds - 3):
            story.carry_out(story.random.choices((story.kill, story.lose_host, story.take_over_and_return), (6, 2, 2))[0])
        story.finish()


in_parallel([functools.partial(tell, store, disk_class, args.seed + number)
             for number, (store, disk_class) in enumerate((s, c) for s in ([args.store] if args.store else ("folder", "s3"))
                                                          for c in ("local", "remote"))])
