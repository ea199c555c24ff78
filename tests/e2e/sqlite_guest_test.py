"""A database in a guest survives kills of its disk daemon: SQLite commits a record at a time on a disk of the store, ebb-diskd is killed
with -9 again and again while it does, and the guest sees none of it. In the end its own integrity check, on the disk as the pool has it,
finds nothing, and every number that the guest reported as committed is there. --kills 50 for a soak."""

import random
import sqlite3
import struct
import subprocess
import time

from e2e import Fleet, arguments, check, no_guest_saw_an_error, wait_until

args = arguments(kills=int, seed=int)
kills = args.kills or 6
seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
rand = random.Random(seed)
print(f"seed {seed}", flush=True)
CLASSES = {"db-local": "local", "db-remote": "remote"}


def run_database(fleet, name, disk_class):
    fleet.ebb("run", name, "--image", "sqlite", "--memory", "128M", "--disk-class", disk_class)


def import_guest(fleet):
    cmdline = (fleet.guest / "cmdline").read_text().strip() + " witness.store=sqlite"
    fleet.ebb("images", "import", "sqlite", "--kernel", fleet.guest / "vmlinux", "--initrd", fleet.guest / "initrd-sqlite.cpio",
              "--disk", fleet.guest / "disk.raw", "--cmdline", cmdline, "--channel", "witness")


def database_of(fleet, name):
    """The database as the pool alone has it, with the journal that belongs to it."""
    disk = fleet.root / f"{name}.raw"
    subprocess.run([fleet.bin / "ebb-disk", "cat", "--pool", fleet.pool, fleet.vm(name)["vm"]["disk"], disk], check=True, capture_output=True)
    subprocess.run(["e2fsck", "-fn", disk], check=True, capture_output=True)
    path = fleet.root / f"{name}.db"
    for ending in ("", "-wal"):
        subprocess.run(["debugfs", "-R", f"dump /records{ending} {path}{ending}", disk], check=True, capture_output=True)
    disk.unlink()
    return sqlite3.connect(path)


def check_database(fleet, name):
    db = database_of(fleet, name)
    said = db.execute("pragma integrity_check").fetchall()
    check(said == [("ok",)], f"{name}: integrity_check says {said[:5]}")
    rows = db.execute("select number, body from record order by number").fetchall()
    check([number for number, _ in rows] == list(range(1, len(rows) + 1)), f"{name}: numbers have gaps")
    for number, body in rows:
        check(body[:8] == b"EBBWREC1" and struct.unpack_from("<Q", body, 8)[0] == number, f"{name}: row {number} is not what was written")
    reported = fleet.watch.last(name)[1]
    check(0 < reported <= len(rows), f"{name}: {reported} commits were reported, and {len(rows)} rows are there")
    return len(rows)


with Fleet(args.bin, args.guest, workers=1, memory="700MiB") as fleet:
    fleet.start()
    import_guest(fleet)
    for name, disk_class in CLASSES.items():
        run_database(fleet, name, disk_class)
    fleet.wait_running(CLASSES, 120)
    diskd = fleet.workers["worker-1"].diskd
    for turn in range(kills):
        for name in CLASSES:
            fleet.watch.wait_for_more(name)
        time.sleep(rand.uniform(0, 0.5))
        diskd.kill()
        time.sleep(rand.uniform(0, 1))
        diskd.start()
        print(f"kill {turn + 1} after {[fleet.watch.last(n)[1] for n in CLASSES]} commits", flush=True)
    for name in CLASSES:
        fleet.watch.wait_for_more(name)
    no_guest_saw_an_error(fleet, CLASSES)
    fleet.stop_vms(CLASSES)
    wait_until(lambda: not fleet.workers["worker-1"].machine_pids(), 30, "no machine runs")
    counts = {name: check_database(fleet, name) for name in CLASSES}
    for name, count in counts.items():  # and once more by a map made anew from the objects alone
        disk = fleet.vm(name)["vm"]["disk"]
        fleet.ebb("disk", "scrub", disk, "--pool", fleet.pool)
        fleet.ebb("disk", "rebuild", disk, "--pool", fleet.pool)
        check(check_database(fleet, name) == count, f"{name} is another database when its disk has been rebuilt")
    print(f"{kills} kills, {counts} commits, every database clean and whole", flush=True)
