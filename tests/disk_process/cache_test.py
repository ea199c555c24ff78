"""The cache on a worker's disk, with real files: it is warm after a kill -9, never believed where it was damaged, and no trouble of its
file is one of the guest; and what a guest read where its disk comes from is fetched before it arrives."""

import random
import shutil
import time

import nbd

from rig import MIB, Rig, arguments, check, wait_until

args = arguments(__doc__, mib=40)


class Content:
    """A disk full of bytes that do not repeat."""

    def __init__(self, seed):
        source = random.Random(seed)
        self.pieces = [source.randbytes(MIB) for _ in range(args.mib)]

    def write(self, uri):
        handle = connect(uri)
        for i, piece in enumerate(self.pieces):
            handle.pwrite(piece, i * MIB)
        handle.flush()
        handle.shutdown()

    def read(self, uri, order):
        """Seconds that it took."""
        handle, began = connect(uri), time.monotonic()
        for i in order:
            check(handle.pread(MIB, i * MIB) == self.pieces[i], f"other bytes in MiB {i}")
        handle.shutdown()
        return time.monotonic() - began


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def shuffled():
    order = list(range(args.mib))
    source.shuffle(order)
    return order


def is_written(diskd):
    """Whether nothing more comes into the file."""
    before = diskd.metric("ebb_cache_disk_written_total")
    time.sleep(0.3)
    return before > 0 and diskd.metric("ebb_cache_disk_written_total") == before


def restart(diskd, disk, change=lambda file: None):
    diskd.kill()
    change(diskd.state / "cache")
    diskd.start()
    diskd.wait_served(disk)


def damaged(file):
    with open(file, "r+b") as cache:
        size = file.stat().st_size
        for _ in range(300):
            at = source.randrange(source.choice((64 << 10, size)))
            cache.seek(at)
            byte = cache.read(1) or b"\0"
            cache.seek(at)
            cache.write(bytes([byte[0] ^ 1 << source.randrange(8)]))


def cut_short(file):
    with open(file, "r+b") as cache:
        cache.truncate(source.randrange(file.stat().st_size))


def a_folder(file):
    file.unlink()
    file.mkdir()


def a_full_device(file):
    shutil.rmtree(file)
    file.symlink_to("/dev/full")


with Rig(args.bin, "s3", latency_ms=20) as rig:
    source = random.Random(args.seed)
    content = Content(args.seed)
    disk = rig.create("d-cached", args.mib * MIB, "remote")
    first = rig.diskd("worker-1")
    first.open(disk)
    content.write(first.uri(disk))
    first.seal(disk)
    first.open(disk)
    cold = content.read(first.uri(disk), shuffled())
    wait_until(lambda: is_written(first), 30, "the cache is written")
    content.read(first.uri(disk), shuffled())
    wait_until(lambda: is_written(first), 30, "the cache is written")

    restart(first, disk)
    wait_until(lambda: first.metric("ebb_cache_disk_ready") == 1, 30, "the cache is open")
    warm = content.read(first.uri(disk), shuffled())
    found, fetched = (first.metric(f"ebb_cache_{name}_total") for name in ("disk_hits", "fetched_bytes"))
    print(f"{args.mib} MiB at random, a MiB at a time: {cold:.2f} s from a store at 20 ms, {warm:.2f} s after a kill -9: {found:.0f} pieces found, "
          f"{fetched / MIB:.1f} MiB fetched", flush=True)
    check(found > args.mib * 16 * 0.8 and fetched < args.mib * MIB * 0.2, "it is not warm")

    first.seal(disk)
    second = rig.diskd("worker-2")
    disk.epoch += 1
    second.ask("standby", disk=disk.name, pool="main", epoch=disk.epoch)
    disk.epoch -= 1
    wait_until(lambda: "are here now" in second.said(), 30, "the standby has fetched what is in use")
    warmed = second.metric("ebb_cache_warmed_bytes_total")
    check(warmed > 8 * MIB, f"only {warmed / MIB:.1f} MiB were fetched ahead of the guest")
    second.open(disk)
    content.read(second.uri(disk), shuffled())
    print(f"{warmed / MIB:.1f} MiB were fetched before the disk moved", flush=True)
    second.seal(disk)
    first.open(disk)

    for change in (damaged, damaged, damaged, cut_short, cut_short, a_folder, a_full_device):
        restart(first, disk, change)
        content.read(first.uri(disk), shuffled())
        if change in (a_folder, a_full_device):
            check(first.metric("ebb_cache_disk_faults_total") > 0 and first.metric("ebb_cache_disk_ready") == 0, "no fault was seen")
        else:
            check(first.metric("ebb_cache_disk_ready") == 1, f"the cache is not used: {change.__name__}")
            content.read(first.uri(disk), shuffled())
            wait_until(lambda: is_written(first), 30, "the cache is written")
        print(f"ok: {change.__name__.replace('_', ' ')}", flush=True)
