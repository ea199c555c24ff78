"""Rows about opening and forking: what must not depend on a disk's size or history."""

import time

from servers import GIB, MIB, Ours, fio_job, objects_a_second


def fork_row(report, args, root):
    ours = Ours(args.bin, root / "forks", f"dir:{root}/fork-pool")
    try:
        ours.tool("image", "small", 1 * GIB, 64 * MIB)
        ours.tool("image", "large", 1024 * GIB, 64 * MIB)
        sizes = {"small": 1 * GIB, "large": 1024 * GIB}
        times = {image: [] for image in sizes}
        for turn in range(20):  # by turns: a fork waits for the device, whose speed changes with the minute
            for image in sorted(sizes, reverse=turn % 2 == 1):
                times[image] += [float(x) for x in ours.tool("fork", image, f"f{turn}-{image}", sizes[image], 5).split()]
        puts = [3000 / objects_a_second(args.bin, ours.pool, 4096, 100, 1)[0] for _ in range(5)]  # a fork puts three objects, one after the other
        report.ratio("fork_ratio", times["large"], {"1 GiB": times["small"]}, "ms", "<= 1.2", higher_is_better=False, limit=puts)
    finally:
        ours.stop()


def attach_row(report, args, root):
    """A disk of 1 TiB with many random writes behind it, beside an empty one: from the request to the served disk."""
    ours = Ours(args.bin, root / "attach", f"dir:{root}/attach-pool")
    try:
        for disk in ("d-empty", "d-full"):
            ours.tool("create", disk, 1024 * GIB, "local")
        ours.open("d-full", "local")
        fio_job(ours.uri, 1024 * GIB, rw="randwrite", bs="4k", iodepth=32, number_ios=args.attach_writes, zero_buffers=0, buffer_compress_percentage=90,
            norandommap=1, end_fsync=1)
        ours.seal("d-full")
        times = {"d-empty": [], "d-full": []}
        for _ in range(10):
            for disk in times:
                began = time.monotonic()
                ours.open(disk, "local")
                times[disk].append((time.monotonic() - began) * 1000)
                ours.seal(disk)
        # An attach reads HEAD and changes it twice, one after the other.
        changes = [sum(n * 1000 / rate for n, rate in zip((2, 1), objects_a_second(args.bin, ours.pool, 4096, 100, 1))) for _ in range(5)]
        report.ratio("attach_ratio", times["d-full"], {"an empty disk": times["d-empty"]}, "ms", "<= 1.5", higher_is_better=False, limit=changes)
        clean, crash = [line.split() for line in ours.tool("rounds", "d-full", root / "attach-log").splitlines()]
        report.number("attach_requests_clean", int(clean[0]), "<= 4")
        report.number("attach_requests_crash", int(crash[0]), "<= 7")
        report.number("attach_writes", args.attach_writes, "10,000,000")
        report.number("attach_memory_peak_mib", round(ours.memory_mib()), "reported")
    finally:
        ours.stop()
