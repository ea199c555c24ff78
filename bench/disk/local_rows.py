"""Rows where the store is a folder: what is in cache, and class local."""

import os
import statistics
import sys

from servers import GIB, MIB, Ours, Server, fio, raw_limit


def side_by_side(report, rounds, key, servers, ours, size, goal, unit, raw, **options):
    """`raw`: a file on which the same is done past all of them."""
    limit, values = [], {server.name: [] for server in servers}
    for _ in range(rounds):
        limit.append(raw_limit(raw, size, unit, **options))
        for server in servers:
            values[server.name].append(fio(server.uri, size, unit, **options))
    mine = values.pop(ours.name)
    report.ratio(key, mine, values, unit, goal, limit=limit)
    print(f"  {key}: ours {statistics.median(mine):,.0f}, " + ", ".join(f"{n} {statistics.median(v):,.0f}" for n, v in values.items()),
          file=sys.stderr, flush=True)


def local_rows(report, args, root):
    size = args.size_mib * MIB
    # The peers have the whole range in the page cache; ours has it in its own memory.
    ours = Ours(args.bin, root / "ours", f"dir:{root}/pool", memory_mib=2 * args.size_mib)
    raw = root / "peer.raw"
    servers = []
    try:
        ours.tool("create", "d-local", 4 * GIB, "local")
        ours.open("d-local", "local")
        raw.write_bytes(b"")
        os.truncate(raw, 4 * GIB)
        qemu = Server("qemu-nbd raw", ["qemu-nbd", "-f", "raw", "-t", "-k", root / "q.sock", "-x", "e", "--cache=writeback", raw], root / "q.sock", "e")
        servers.append(qemu)
        kit = Server("nbdkit file", ["nbdkit", "-f", "-U", root / "k.sock", "file", raw], root / "k.sock")
        servers.append(kit)
        for server in (ours, qemu):
            fio(server.uri, size, "MB/s", rw="write", bs="1M", iodepth=16, end_fsync=1)
        for server in (ours, qemu, kit):  # into the cache of each
            fio(server.uri, size, "MB/s", rw="read", bs="1M", iodepth=4)
        limits = root / "limits.raw"  # what the machine can do at best
        fio(limits, max(size, args.seqwrite_mib * MIB), "MB/s", rw="write", bs="1M", end_fsync=1)
        timed = {"runtime": args.seconds, "time_based": 1}
        side_by_side(report, args.rounds, "cached_randread_qd32_ratio", [ours, qemu, kit], ours, size, ">= 1.0", "IO/s", limits,
                     rw="randread", bs="4k", iodepth=32, **timed)
        side_by_side(report, args.rounds, "seqread_ratio", [ours, qemu, kit], ours, size, ">= 0.9", "MB/s", limits,
                     rw="read", bs="1M", iodepth=8, **timed)
        side_by_side(report, args.rounds, "write_flush_qd1_ratio", [ours, qemu], ours, size, ">= 1.0", "IO/s", limits,
                     rw="randwrite", bs="4k", iodepth=1, fsync=1, **timed)
        side_by_side(report, args.rounds, "randwrite_qd32_ratio", [ours, qemu], ours, size, ">= 1.0", "IO/s", limits,
                     rw="randwrite", bs="4k", iodepth=32, **timed)
        direct = Server("qemu-nbd cache=none", ["qemu-nbd", "-f", "raw", "-t", "-k", root / "n.sock", "-x", "e", "--cache=none", "--aio=io_uring", raw],
                        root / "n.sock", "e")
        servers.append(direct)
        side_by_side(report, args.rounds, "seqwrite_ratio", [ours, direct], ours, args.seqwrite_mib * MIB, ">= 0.9", "MB/s", limits,
                     rw="write", bs="1M", iodepth=16, end_fsync=1)
        # Ours writes each byte twice to this device: to the log, and to the pool's folder.
        twice = [raw_limit(limits, args.seqwrite_mib * MIB, "MB/s", rw="write", bs="1M", iodepth=8, end_fsync=1, numjobs=2, group_reporting=1,
                           offset_increment=args.seqwrite_mib * MIB) / 2 for _ in range(args.rounds)]
        report.number("seqwrite_twice_limit_mbs", round(statistics.median(twice)), "reported")
        report.note("in cache: ours in its own memory, qemu-nbd and nbdkit in the page cache")
        report.number("diskd_memory_peak_mib", round(ours.memory_mib()), "reported")
    finally:
        for server in servers:
            server.stop()
        ours.stop()
