"""fio writes, trims and verifies at random, and what it wrote before ebb-diskd was killed verifies after: in phases, because fio's NBD
engine does not connect again. A last phase finds the damage that is done on purpose, so that the others mean something."""

import json
import subprocess
import time

import nbd

from rig import MIB, Rig, arguments, check, fio_seed

args = arguments(__doc__, io_mib=32)


HALF = 48 * MIB


def fio(diskd, disk, *options):
    words = ["fio", "--output-format=json", "--ioengine=nbd", f"--uri={diskd.uri(disk)}", "--verify_fatal=1", "--verify_dump=0", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=200, cwd=diskd.rig.root)


def fio_succeeds(*words):
    done = fio(*words)
    check(done.returncode == 0, f"{' '.join(done.args)}: {done.stderr[-1500:]}{done.stdout[-500:]}")
    return {job["jobname"]: job for job in json.loads(done.stdout[done.stdout.index("{"):])["jobs"]}


def written(turn, *more):
    """Random blocks of the lower half, other ones in each turn."""
    return ["--name=written", "--rw=randwrite", "--bs=4k", "--iodepth=32", f"--size={HALF}", f"--io_size={args.io_mib * MIB}", "--verify=crc32c",
            *fio_seed(args.seed + turn), *more]


# Trims of fio's own mixed jobs crash fio 3.33 (with any server), so they are a job beside; every block of the upper half once.
TRIMMED = ["--name=trimmed", "--rw=randtrim", "--bs=16k", "--iodepth=16", f"--offset={HALF}", f"--size={HALF}"]
ZEROES = ["--name=zeroes", "--rw=read", "--bs=64k", "--iodepth=4", f"--offset={HALF}", f"--size={HALF}", "--verify=pattern", "--verify_pattern=0x00"]


def story(store, disk_class):
    with Rig(args.bin, store) as rig:
        disk = rig.create("d-fio", 2 * HALF, disk_class)
        diskd = rig.diskd("worker-1")
        diskd.open(disk)

        def kill_and_restart():
            diskd.kill()
            diskd.start()
            diskd.wait_served(disk)

        fio_succeeds(diskd, disk, "--name=filled", "--rw=write", "--bs=256k", "--iodepth=8", f"--offset={HALF}", f"--size={HALF}")
        jobs = fio_succeeds(diskd, disk, *written(1, "--verify_backlog=1000", "--fsync=500"), *TRIMMED)
        check(jobs["trimmed"]["trim"]["total_ios"] == HALF // 16384, f"{jobs['trimmed']['trim']}")
        check(jobs["written"]["read"]["total_ios"] > 1000, f"{jobs['written']['read']}")
        fio_succeeds(diskd, disk, *written(2, "--do_verify=0"))
        # Killed at once: nothing was flushed. Verified by the one that comes after.
        kill_and_restart()
        fio_succeeds(diskd, disk, *written(2, "--verify_only"), *ZEROES)

        # Killed while fio writes and trims: it sees the connection end, and the disk goes on.
        running = rig.run(["fio", "--name=cut", "--ioengine=nbd", f"--uri={diskd.uri(disk)}", f"--size={2 * HALF}", "--rw=randtrimwrite", "--bs=4k",
                           "--iodepth=32", "--time_based", "--runtime=30"], "fio.log", cwd=rig.root)
        time.sleep(1)
        check(running.poll() is None, "fio ended before its server was killed")
        diskd.kill()
        check(running.wait(30) != 0, "fio did not see that its server was killed")
        diskd.start()
        diskd.wait_served(disk)
        fio_succeeds(diskd, disk, *written(3, "--verify_backlog=1000"), *TRIMMED)
        kill_and_restart()
        fio_succeeds(diskd, disk, *written(3, "--verify_only"), *ZEROES)

        handle = nbd.NBD()
        handle.connect_uri(diskd.uri(disk))
        for at, verify in ((HALF // 2, written(3, "--verify_only")), (HALF + HALF // 2, ZEROES)):
            handle.pwrite(b"\x5a" * 40960, at)
            check(fio(diskd, disk, *verify).returncode != 0, "fio verifies what was damaged on purpose")
        handle.shutdown()
        diskd.seal(disk)
        rig.offline_check(disk)
        print(f"{store}, {disk_class}: {3 * args.io_mib} MiB written and verified, {2 * HALF // MIB} MiB trimmed, across 3 kills", flush=True)


story("folder", "local")
story("s3", "remote")
