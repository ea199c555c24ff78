"""ext4, XFS and Btrfs on a disk: ebb-diskd is killed under load, first while the machine above runs on, then together with it. The
files go on being written across the first; after the second the journal is replayed, the file system is clean, and every file that
had been synced is there, whole. --rounds N for more. With --outage SECONDS the store hangs that long under load instead: no file sees an
error, files are written on after it, and the file system is clean."""

import functools
import hashlib
import os
import random
import threading
import time

from mounted_disk import BlockDevice, require, run
from rig import MIB, Rig, arguments, check, in_parallel, wait_until

require("mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "mkfs.btrfs", "btrfs")
args = arguments(__doc__, rounds=1, only="", outage=0)

MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-b", "4096"], "xfs": ["mkfs.xfs", "-q", "-f", "-s", "size=4096"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}
CHECK = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"], "btrfs": ["btrfs", "check", "--readonly"]}


class Files:
    """Writes files, syncs some, removes some; knows which ones must be there."""

    def __init__(self, folder, seed, number):
        self.folder, self.random, self.number = folder, random.Random(seed), number
        self.synced = {}   # name -> digest
        self.error, self.is_stopped, self.written = None, threading.Event(), 0
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            while not self.is_stopped.is_set():
                self.one()
        except OSError as error:
            self.error = error

    def one(self):
        self.number += 1
        name = f"f{self.number}"
        data = self.random.randbytes(self.random.choice((100, 5000, 70000, 600000)))
        path = self.folder / name
        is_synced = self.random.random() < 0.6
        with open(path, "wb") as file:
            file.write(data)
            if is_synced:
                file.flush()
                os.fsync(file.fileno())
        if is_synced:
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self.synced[name] = hashlib.sha256(data).hexdigest()
        self.written += 1
        if len(self.synced) > 60 and self.random.random() < 0.7:
            gone = self.random.choice(list(self.synced))
            del self.synced[gone]  # from now on it may be there or not
            (self.folder / gone).unlink()

    def stop(self):
        self.is_stopped.set()
        self.thread.join(60)
        check(not self.thread.is_alive(), "the writer of files hangs")


def check_files(folder, synced):
    for name, digest in synced.items():
        path = folder / name
        check(path.exists(), f"{path}: was synced, and is not there")
        check(hashlib.sha256(path.read_bytes()).hexdigest() == digest, f"{path}: was synced, and holds something else")


def trim(folder):
    run("fstrim", folder)


def one_round(rig, diskd, disk, kind, state, seed):
    rand = random.Random(seed)
    device = BlockDevice(rig, disk, diskd.socket_of(disk))
    folder = device.mount()
    check_files(folder, state["synced"])
    # The daemon alone: a pause.
    files = Files(folder, seed, state["number"])
    files.synced.update(state["synced"])
    for _ in range(2):
        time.sleep(rand.uniform(0.2, 0.8))
        before = files.written
        diskd.kill()
        time.sleep(rand.uniform(0, 0.3))
        diskd.start()
        diskd.wait_served(disk)
        end = time.monotonic() + 60
        while files.written <= before + 3 and not files.error and time.monotonic() < end:
            time.sleep(0.02)
        check(not files.error, f"{kind}: a file saw an error although the daemon came back: {files.error}")
        check(files.written > before + 3, f"{kind}: no file was written after the daemon came back")
    trim(folder)
    time.sleep(rand.uniform(0.1, 0.5))
    # The daemon and the machine above it: a power cut for the file system.
    diskd.kill()
    synced = dict(files.synced)
    files.is_stopped.set()
    device.pull(files.stop)
    synced = {name: digest for name, digest in files.synced.items() if name in synced}
    diskd.start()
    diskd.wait_served(disk)
    device = BlockDevice(rig, disk, diskd.socket_of(disk))
    folder = device.mount()  # replays the journal
    check_files(folder, synced)
    device.unmount()
    run(*CHECK[kind], device.loop)
    device.close()
    state.update(synced=synced, number=files.number)
    state["files"] += files.written


def made(rig, diskd, kind, disk_class):
    """A disk with an empty file system, open."""
    disk = rig.create(f"d-{kind}", 400 * MIB, disk_class)
    diskd.open(disk)
    device = BlockDevice(rig, disk, diskd.socket_of(disk))
    run(*MAKE[kind], device.loop)
    device.close()
    return disk


def across_kills(kind, disk_class):
    with Rig(args.bin) as rig:
        diskd = rig.diskd("worker-1")
        disk = made(rig, diskd, kind, disk_class)
        state = {"synced": {}, "number": 0, "files": 0}
        for turn in range(args.rounds):
            one_round(rig, diskd, disk, kind, state, args.seed + turn)
        diskd.seal(disk)
        rig.offline_check(disk)
        print(f"{kind}, {disk_class}: {state['files']} files written across {3 * args.rounds} kills, {len(state['synced'])} synced ones whole, clean",
              flush=True)


def through_an_outage(kind, disk_class):
    with Rig(args.bin, "s3") as rig:
        diskd = rig.diskd("worker-1")
        disk = made(rig, diskd, kind, disk_class)
        device = BlockDevice(rig, disk, diskd.socket_of(disk))
        files = Files(device.mount(), args.seed, 0)
        time.sleep(2)
        rig.s3.fault({"fault": "hang"})
        time.sleep(args.outage)
        check(diskd.metric("ebb_disk_waiting") == 1, f"{kind}, {disk_class}: nothing waits for the store, so this was no trial")
        before = files.written
        rig.s3.fault()
        wait_until(lambda: files.written > before + 20 or files.error, 120, f"{kind}, {disk_class}: files are written on")
        files.stop()
        check(not files.error, f"{kind}, {disk_class}: a file saw an error: {files.error}")
        check_files(device.mounted, files.synced)
        device.unmount()
        run(*CHECK[kind], device.loop)
        check_files(device.mount(), files.synced)
        device.close()
        diskd.seal(disk)
        rig.offline_check(disk)
        print(f"{kind}, {disk_class}: {before} files written before the end of an outage of {args.outage} s, {files.written} in all, "
              f"{len(files.synced)} synced ones whole, clean", flush=True)


kinds = [kind for kind in MAKE if args.only in ("", kind)]
if args.outage:
    in_parallel([functools.partial(through_an_outage, kind, disk_class) for kind in kinds for disk_class in ("local", "remote")], width=6)
else:
    for number, kind in enumerate(kinds):
        for disk_class in ("local", "remote") if args.rounds > 1 else (("local", "remote", "local")[number],):
            across_kills(kind, disk_class)
