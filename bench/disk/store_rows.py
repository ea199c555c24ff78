"""Rows where the store is an S3 server 30 ms away, beside s3backer on the same server."""

import statistics
import sys
import time

from servers import MIB, CephRbd, Ours, S3Backer, S3Server, fio, fio_job, objects_a_second

LATENCY_MS = 30
SEGMENT = 16 * MIB


def say(key, mine, theirs):
    print(f"  {key}: ours {statistics.median(mine):,.0f}, s3backer {statistics.median(theirs):,.0f}", file=sys.stderr, flush=True)


def until_stored(job_of, finish):
    """Writes a second, from the first to when all of them are in the store."""
    began = time.monotonic()
    job = job_of()
    finish()
    return job["write"]["total_ios"] / (time.monotonic() - began)


def randwrite_row(report, args, root, server):
    """Random writes for a while, then whatever brings all of them into the store: FLUSH of class remote, and unmounting s3backer."""
    work = {"rw": "randwrite", "bs": "4k", "runtime": 2 * args.seconds, "time_based": 1}
    mine, theirs, limit = [], [], []
    for i in range(args.store_rounds):
        puts, _ = objects_a_second(args.bin, server.pool("w-raw"), SEGMENT, 40, 8)
        limit.append(puts * SEGMENT / 4096)
        ours = Ours(args.bin, root / f"w-ours-{i}", server.pool(f"w-{i}"))
        try:
            ours.tool("create", "d", 4096 * MIB, "remote")
            ours.open("d", "remote")
            mine.append(until_stored(lambda: fio_job(ours.uri, 4096 * MIB, iodepth=32, end_fsync=1, **work), lambda: None))
        finally:
            ours.stop()
        peer = S3Backer(server, root, f"w-peer-{i}", "64k", 4096)
        theirs.append(until_stored(lambda: fio_job(peer.path, 4096 * MIB, ioengine="psync", **work), peer.stop))
    say("s3_randwrite_vs_s3backer", mine, theirs)
    report.ratio("s3_randwrite_vs_s3backer", mine, {peer.name: theirs}, "IO/s", ">= 20", limit=limit)


def flush_row(report, args, root, server):
    """32 writers, each of which waits after each write until it is in the store; here the store is near: with 30 ms s3backer, which
    writes one block after the other, takes minutes to end."""
    key = "remote_flush_vs_s3backer"
    work = {"rw": "randwrite", "bs": "4k", "fsync": 1, "numjobs": 32, "thread": 1, "group_reporting": 1, "runtime": args.seconds, "time_based": 1}
    mine, theirs, rbd, limit = [], [], [], []
    for i in range(args.store_rounds):
        limit.append(objects_a_second(args.bin, server.pool("f-raw"), 4096, 4000, 32)[0])
        ours = Ours(args.bin, root / f"f-ours-{i}", server.pool(f"f-{i}"))
        try:
            ours.tool("create", "d", 1024 * MIB, "remote")
            ours.open("d", "remote")
            mine.append(fio(ours.uri, 1024 * MIB, "IO/s", **work))
        finally:
            ours.stop()
        peer = S3Backer(server, root, f"f-peer-{i}", "64k", 1024, "--blockCacheSync", "--blockCacheWriteDelay=0")
        try:
            theirs.append(fio(peer.path, 1024 * MIB, "IO/s", ioengine="psync", **work))
        finally:
            peer.stop()
        second = CephRbd(root, 1024, connections=32)
        try:
            rbd.append(fio(second.uri, 1024 * MIB, "IO/s", **work))
        finally:
            second.stop()
    say(key, mine, theirs)
    report.ratio(key, mine, {peer.name: theirs}, "IO/s", ">= 5", limit=limit)
    report.ratio("remote_flush_vs_rbd", mine, {second.name: rbd}, "IO/s", "reported", limit=limit)


def coldread_rows(report, args, root, server):
    """One reader, one request at a time, of what nobody has read before. Each reads what it wrote itself."""
    size = args.coldread_mib * MIB
    read = {"rw": "read", "bs": "1M"}
    pool = server.pool("r")
    writer = Ours(args.bin, root / "r-writer", pool)
    writer.tool("create", "d", size, "remote")
    writer.open("d", "remote")
    fio_job(writer.uri, size, rw="write", bs="1M", iodepth=8, end_fsync=1)
    writer.seal("d")
    writer.stop()
    for block in ("64k", "1m"):
        peer = S3Backer(server, root, f"r-{block}-fill", block, args.coldread_mib)
        fio_job(peer.path, size, ioengine="psync", rw="write", bs="1M")
        peer.stop()
    mine, theirs, limit = [], {"64k": [], "1m": []}, []
    for i in range(args.store_rounds):
        limit.append(objects_a_second(args.bin, server.pool("r-raw"), MIB, args.coldread_mib, 16)[1] * MIB / 1e6)
        ours = Ours(args.bin, root / f"r-ours-{i}", pool)
        try:
            ours.epochs["d"] = i + 1
            ours.open("d", "remote")
            mine.append(fio(ours.uri, size, "MB/s", **read))
            ours.seal("d")
        finally:
            ours.stop()
        for block, values in theirs.items():
            peer = S3Backer(server, root, f"r-{block}-fill", block, args.coldread_mib, cache_file=f"r-{block}-{i}.cache")
            try:
                values.append(fio(peer.path, size, "MB/s", ioengine="psync", **read))
            finally:
                peer.stop()
    for block, key, goal in (("64k", "s3_coldread_vs_s3backer", ">= 4"), ("1m", "s3_coldread_vs_s3backer_1m", ">= 1.5")):
        say(key, mine, theirs[block])
        report.ratio(key, mine, {f"s3backer {block} blocks": theirs[block]}, "MB/s", goal, limit=limit)


def store_rows(report, args, root):
    near, far = S3Server(args.bin, root / "s3-near", 0), S3Server(args.bin, root / "s3-far", LATENCY_MS)
    try:
        randwrite_row(report, args, root, far)
        flush_row(report, args, root, near)
        coldread_rows(report, args, root, far)
        report.note("the machine's best with an S3 server: whole objects through the same client, 8 of 16 MiB at a time (in writes of 4 KiB), "
                    "32 of 4 KiB (each a write of its own), 16 of 1 MiB")
    finally:
        near.stop()
        far.stop()
