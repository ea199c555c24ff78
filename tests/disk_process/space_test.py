"""What a disk takes in the pool: filled with data that does not compress, then overwritten at random in blocks of 4 KiB, with reclaim now
and then. All that lies in the pool is counted while the load runs, and is at most 1.35 times the data; here that is tried from 4 GiB on. A
smaller disk is held to 384 MiB more: see BACKLOG. The rate of fio is limited: unlimited, cleaning does not keep pace on a machine of two cores.
By hand: --mib 4096 --warm-up 3 --rate-iops 2500 --times 0.2. The long warm-up is because what was filled at one time is cleaned at one time.
--store s3 for our S3 server instead of a folder; there cleaning keeps pace with --warm-rate-iops 5000."""

import subprocess
import time

from rig import MIB, Rig, arguments, check, fio_seed

args = arguments(__doc__, mib=256, warm_up=1.0, warm_rate_iops=8000, times=1.5, rate_iops=8000, reclaim_s=1.0, store="folder")
RATIO = 1.35
# However small the disk, a checkpoint waits for 64 MiB of writes, what is cleaned stands twice until the next one, and what is condemned stays
# until a reclaim. At 256 MiB that is more than the data itself; yet a disk of which nothing is cleaned or reclaimed takes far more.
BACKLOG = 0 if args.mib >= 4096 else 384 * MIB


class Load:
    """fio in the background, each turn with other blocks."""
    turns = 0

    def __init__(self, rig, uri, rw, bs, io_bytes, *more):
        Load.turns += 1
        words = ["fio", "--ioengine=nbd", f"--uri={uri}", "--name=w", f"--rw={rw}", f"--bs={bs}", "--iodepth=32", f"--size={args.mib}M",
                 f"--io_size={int(io_bytes)}", "--norandommap", "--refill_buffers", "--output-format=terse", *fio_seed(args.seed + Load.turns), *more]
        self.process = rig.run(words, "fio.log", cwd=rig.root, stdout=subprocess.DEVNULL)

    def runs(self):
        check(self.process.poll() in (None, 0), "fio failed")
        return self.process.poll() is None


def by_kind(objects):
    """Bytes by the kind of object, the first part of its key."""
    found = {}
    for key, size in objects.items():
        kind = key.removeprefix("cell-1/").rpartition("/")[0].partition("/")[0]
        found[kind] = found.get(kind, 0) + size
    return found


class Watch:
    """Reclaims now and then, as the control plane does, and keeps the largest sample."""

    def __init__(self, rig, disk):
        self.rig, self.disk, self.objects = rig, disk, {}
        self.reclaimed_at, self.gone, self.worst, self.samples = 0.0, 0, {}, []

    def watch(self, load):
        self.worst, self.samples = {}, []
        while load.runs():
            if time.monotonic() > self.reclaimed_at + args.reclaim_s:
                self.gone += self.rig.reclaim(self.disk)
                self.reclaimed_at = time.monotonic()
            objects = self.rig.objects()
            if self.rig.s3:
                self.rig.s3.forget(self.objects.keys() - objects.keys())
            self.objects, found = objects, by_kind(objects)
            self.samples.append(sum(found.values()))
            self.worst = max(self.worst, found, key=lambda sample: sum(sample.values()))
            time.sleep(0.25)


with Rig(args.bin, args.store) as rig:
    disk = rig.create("d-space", args.mib * MIB, "local")
    diskd = rig.diskd("worker-1", memory="320MiB")
    diskd.open(disk)
    watch = Watch(rig, disk)
    began = time.monotonic()
    watch.watch(Load(rig, diskd.uri(disk), "write", "1M", disk.size))
    watch.watch(Load(rig, diskd.uri(disk), "randwrite", "4k", disk.size * args.warm_up, f"--rate_iops={args.warm_rate_iops}"))
    overwriting = time.monotonic()
    watch.watch(Load(rig, diskd.uri(disk), "randwrite", "4k", disk.size * args.times, f"--rate_iops={args.rate_iops}"))
    rate = disk.size * args.times / (time.monotonic() - overwriting) / MIB
    worst = sum(watch.worst.values()) / disk.size
    mean = sum(watch.samples) / len(watch.samples) / disk.size
    kinds = ", ".join(f"{kind or 'format'} {found / disk.size:.3f}" for kind, found in sorted(watch.worst.items()) if found > disk.size // 1000)
    print(f"{args.store}: {args.mib} MiB, {args.times} times overwritten at {rate:.1f} MiB/s, {time.monotonic() - began:.0f} s: at most "
          f"{worst:.3f} times the data ({kinds}), in the mean {mean:.3f}; {watch.gone} objects reclaimed, {len(watch.samples)} samples", flush=True)
    check(worst >= 1 and watch.worst.get("g", 0) > 0 and watch.gone > 0, "nothing was cleaned and reclaimed")
    check(worst * disk.size <= RATIO * disk.size + BACKLOG, f"{worst:.3f} times the data")
    diskd.seal(disk)
    rig.scrub(disk)
