"""What ebb-diskd takes: idle, with a disk open and at rest, and while a disk of 1 TiB is written at random, in blocks of 4 KiB, so that
its map is far larger than the memory for maps. The bound is the one number that was configured, plus 20 %. --writes N for more."""

import re
import subprocess

from rig import Rig, arguments, check

args = arguments(__doc__, writes=60_000, memory_mib=128)
IDLE_MIB = 50  # of a daemon that has no disk


def peak_mib(diskd):
    status = open(f"/proc/{diskd.program.pid}/status").read()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


with Rig(args.bin) as rig:
    disk = rig.create("d-large", 1 << 40, "local")
    diskd = rig.diskd("worker-1", memory=f"{args.memory_mib}MiB")
    idle = diskd.memory_mib()
    check(idle < IDLE_MIB, f"an idle ebb-diskd takes {idle:.0f} MiB")
    diskd.open(disk)
    at_rest = diskd.memory_mib()
    done = subprocess.run(["fio", "--ioengine=nbd", f"--uri={diskd.uri(disk)}", "--name=w", "--rw=randwrite", "--bs=4k", "--iodepth=32", "--size=1T",
                           "--norandommap", "--random_generator=tausworthe64", f"--number_ios={args.writes}", "--buffer_compress_percentage=95",
                           f"--randseed={args.seed}", "--output-format=terse"], capture_output=True, text=True, timeout=3000, cwd=rig.root)
    check(done.returncode == 0, f"fio: {done.stderr[-1000:]}")
    peak = peak_mib(diskd)
    print(f"idle {idle:.0f} MiB, with a disk of 1 TiB {at_rest:.0f} MiB, peak {peak:.0f} MiB over {args.writes} random writes; "
          f"{args.memory_mib} MiB are configured", flush=True)
    check(peak < args.memory_mib * 1.2, f"peak {peak:.0f} MiB")
