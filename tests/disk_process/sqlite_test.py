"""SQLite on a disk survives kills of ebb-diskd: two databases, one with a write-ahead log and one with a rollback journal, are written
all the time. A kill hits the daemon alone (then no database may see an error) or the machine above too (then what is found after
must be a clean database with every transaction whose commit had returned). --kills 50 for a soak."""

import contextlib
import random
import sqlite3
import threading
import time
import zlib

from mounted_disk import BlockDevice, require, run
from rig import MIB, Rig, arguments, check, wait_until

require("mkfs.ext4", "e2fsck")
args = arguments(__doc__, kills=8, disk_class="local")

# A rollback journal is gone for certain only when its folder is synced: EXTRA.
MODES = {"wal": "FULL", "delete": "EXTRA"}


class Ledger:
    """Transactions into one database. Rows are numbered without a gap; another table holds their sum."""

    def __init__(self, mode, seed):
        self.mode, self.random = mode, random.Random(seed)
        self.committed = self.rows = 0  # by commits that returned
        self.tried = 0
        self.since_death = None  # `rows` when the daemon had died for good, and after each commit that has returned since
        self.error = None

    def open(self, folder):
        db = sqlite3.connect(folder / f"{self.mode}.db", isolation_level=None, timeout=30, check_same_thread=False)
        check(db.execute(f"pragma journal_mode={self.mode}").fetchone()[0] == self.mode, "the journal mode is what was asked for")
        db.execute(f"pragma synchronous={MODES[self.mode]}")
        return db

    def create(self, folder):
        db = self.open(folder)
        db.execute("create table entry(id integer primary key, body blob, crc integer)")
        db.execute("create table total(entries integer)")
        db.execute("insert into total values (0)")
        db.close()

    def start(self, folder):
        self.error, self.is_stopped = None, threading.Event()
        self.thread = threading.Thread(target=self.work, args=(folder,), daemon=True)
        self.thread.start()

    def work(self, folder):
        try:
            with contextlib.closing(self.open(folder)) as db:  # also after an error: an open file holds the file system
                while not self.is_stopped.is_set():
                    self.transact(db)
        except sqlite3.Error as error:
            self.error = str(error)

    def transact(self, db):
        count = self.random.randint(1, 6)
        db.execute("begin immediate")
        for i in range(count):
            body = self.random.randbytes(self.random.choice((50, 900, 9000)))
            db.execute("insert into entry values (?, ?, ?)", (self.rows + i + 1, body, zlib.crc32(body)))
        db.execute("update total set entries = entries + ?", (count,))
        self.tried = self.rows + count
        db.execute("commit")
        self.rows += count
        if self.since_death is not None:
            self.since_death.append(self.rows)
        self.committed += 1

    def note_death(self):
        """Nobody answers a flush any more. What is still said to be committed need not be. Seen once, with a rollback journal; what
        we take for the cause: ext4 answers fsync of a folder with success once its journal was aborted and holds no transaction."""
        self.since_death = [self.rows]

    def stop(self):
        self.is_stopped.set()
        self.thread.join(60)
        check(not self.thread.is_alive(), f"{self.mode}: SQLite hangs")

    def verify(self, folder):
        """Every committed transaction is there, and of the one that was under way all or nothing."""
        db = self.open(folder)
        said = db.execute("pragma integrity_check").fetchall()
        check(said == [("ok",)], f"{self.mode}: integrity_check says {said[:5]}")
        total = db.execute("select entries from total").fetchone()[0]
        found = 0
        for number, body, crc in db.execute("select id, body, crc from entry order by id"):
            found += 1
            check(number == found and zlib.crc32(body) == crc, f"{self.mode}: entry {found} is not what was written")
        check(found == total, f"{self.mode}: {found} entries, and their sum says {total}")
        may_be = [*(self.since_death or [self.rows]), self.tried]
        check(found in may_be, f"{self.mode}: {may_be[:-1]} entries were committed, {self.tried} tried, and {found} are there")
        self.rows = self.tried = found
        self.since_death = None
        db.close()


def both(ledgers, action, *arguments_):
    for ledger in ledgers:
        getattr(ledger, action)(*arguments_)


with Rig(args.bin) as rig:
    rand = random.Random(args.seed)
    disk = rig.create("d-sqlite", 1024 * MIB, args.disk_class)
    diskd = rig.diskd("worker-1")
    diskd.open(disk)
    device = BlockDevice(rig, disk, diskd.socket_of(disk))
    run("mkfs.ext4", "-q", "-F", "-b", "4096", device.loop)
    folder = device.mount()
    ledgers = [Ledger(mode, args.seed) for mode in MODES]
    both(ledgers, "create", folder)
    both(ledgers, "start", folder)
    power_cuts = 0

    def has_gone_on(before):
        return any(ledger.error for ledger in ledgers) or all(ledger.committed > count + 1 for ledger, count in zip(ledgers, before))

    for turn in range(args.kills):
        time.sleep(rand.uniform(0.1, 0.6))
        is_power_cut = turn == args.kills - 1 or rand.random() < 0.5
        diskd.kill()
        if is_power_cut:
            power_cuts += 1
            both(ledgers, "note_death")
            device.pull(lambda: both(ledgers, "stop"))
        diskd.start()
        diskd.wait_served(disk)
        if is_power_cut:
            device = BlockDevice(rig, disk, diskd.socket_of(disk))
            folder = device.mount()
            both(ledgers, "verify", folder)
            both(ledgers, "start", folder)
        before = [ledger.committed for ledger in ledgers]
        wait_until(lambda: has_gone_on(before), 60, "both databases take transactions again")
        for ledger in ledgers:
            check(not ledger.error, f"{ledger.mode}: an error although the daemon came back: {ledger.error}")
    both(ledgers, "stop")
    both(ledgers, "verify", folder)
    device.unmount()
    run("e2fsck", "-fn", device.loop)
    device.close()
    diskd.seal(disk)
    rig.offline_check(disk)
    counts = ", ".join(f"{ledger.mode}: {ledger.committed} transactions of {ledger.rows} entries" for ledger in ledgers)
    print(f"{args.disk_class}: {counts}; {args.kills} kills, {power_cuts} of them with the machine above; every database clean", flush=True)
