"""What ebb-diskd takes: idle, with a disk open and at rest, and while a disk of 1 TiB is written at random, in blocks of 4 KiB, so that
its map is far larger than the memory for maps. The bound is the sum of the configured buffers plus 20 %. --writes N for more."""

import re
import subprocess

from rig import MIB, Rig, arguments, check

args = arguments(__doc__, writes=60_000, map_mib=16, cache_mib=16)
IDLE_MIB = 50          # of a daemon, beside its buffers
CHANGES_MIB = 32       # of a disk's map, since its last checkpoint: the most it may be
IN_FLIGHT_MIB = 64     # writes that are on their way to the log or the store


def peak_mib(diskd):
    status = open(f"/proc/{diskd.program.pid}/status").read()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


with Rig(args.bin) as rig:
    disk = rig.create("d-large", 1 << 40, "local")
    diskd = rig.diskd("worker-1", cache_memory=f"{args.cache_mib}MiB", map_memory=f"{args.map_mib}MiB")
    idle = diskd.memory_mib()
    check(idle < IDLE_MIB, f"an idle ebb-diskd takes {idle:.0f} MiB")
    diskd.open(disk)
    at_rest = diskd.memory_mib()
    done = subprocess.run(["fio", "--ioengine=nbd", f"--uri={diskd.uri(disk)}", "--name=w", "--rw=randwrite", "--bs=4k", "--iodepth=32", "--size=1T",
                           "--norandommap", "--random_generator=tausworthe64", f"--number_ios={args.writes}", "--buffer_compress_percentage=95",
                           f"--randseed={args.seed}", "--output-format=terse"], capture_output=True, text=True, timeout=3000, cwd=rig.root)
    check(done.returncode == 0, f"fio: {done.stderr[-1000:]}")
    peak = peak_mib(diskd)
    budget = IDLE_MIB + args.map_mib + args.cache_mib + CHANGES_MIB + IN_FLIGHT_MIB
    print(f"idle {idle:.0f} MiB, with a disk of 1 TiB {at_rest:.0f} MiB, peak {peak:.0f} MiB over {args.writes} random writes; "
          f"{args.map_mib} + {args.cache_mib} MiB are configured, bound {budget * 1.2:.0f} MiB", flush=True)
    check(peak < budget * 1.2, f"peak {peak:.0f} MiB")
