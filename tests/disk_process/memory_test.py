"""What ebb-diskd takes: idle, with a disk open and at rest, and while a disk of 1 TiB is written at random, in blocks of 4 KiB, so that
its map is far larger than the memory for maps. The bound is the one number that was configured, plus 20 %; of a daemon that does nothing,
50 MB. --writes N for more, --store s3 for our S3 server instead of a folder."""

import subprocess
import time

from rig import Rig, arguments, check, fio_seed

args = arguments(__doc__, writes=60_000, memory_mib=128, store="folder")
IDLE_MB = 50  # and what is configured for buffers, of which an idle daemon fills none


def check_idle(diskd, what):
    time.sleep(2)  # what a start or an open has begun in the background is over
    taken = diskd.program.memory_mb()
    check(taken < IDLE_MB, f"ebb-diskd {what} takes {taken:.1f} MB")
    return taken


with Rig(args.bin, args.store) as rig:
    disk = rig.create("d-large", 1 << 40, "local")
    diskd = rig.diskd("worker-1", memory=f"{args.memory_mib}MiB")
    idle = check_idle(diskd, "without a disk")
    diskd.open(disk)
    at_rest = check_idle(diskd, "with a disk open and at rest")
    done = subprocess.run(["fio", "--ioengine=nbd", f"--uri={diskd.uri(disk)}", "--name=w", "--rw=randwrite", "--bs=4k", "--iodepth=32", "--size=1T",
                           "--norandommap", "--random_generator=tausworthe64", f"--number_ios={args.writes}", "--buffer_compress_percentage=95",
                           *fio_seed(args.seed), "--output-format=terse"], capture_output=True, text=True, timeout=3000, cwd=rig.root)
    check(done.returncode == 0, f"fio: {done.stderr[-1000:]}")
    peak = diskd.peak_mib()
    print(f"{args.store}: idle {idle:.1f} MB, with a disk of 1 TiB at rest {at_rest:.1f} MB, peak {peak:.0f} MiB over {args.writes} random writes; "
          f"{args.memory_mib} MiB are configured", flush=True)
    check(peak < args.memory_mib * 1.2, f"peak {peak:.0f} MiB of {args.memory_mib} configured")
