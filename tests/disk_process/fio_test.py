"""fio writes, trims and verifies at random, and what it wrote before ebb-diskd was killed verifies after: in phases, because fio's NBD
engine does not connect again. A last phase finds the damage that is done on purpose, so that the others mean something."""

import json
import subprocess

import nbd

from rig import MIB, Rig, arguments, check

args = arguments(__doc__, io_mib=64)


def fio(diskd, disk, name, *options, expect_error=False):
    words = ["fio", "--output-format=json", f"--name={name}", "--ioengine=nbd", f"--uri={diskd.uri(disk)}", f"--size={disk.size}",
             "--verify=crc32c", "--verify_fatal=1", f"--randseed={args.seed % (1 << 31)}", *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, cwd=diskd.rig.root)
    if not expect_error:
        check(done.returncode == 0, f"{name}: {' '.join(words)}: {done.stderr[-1500:]}{done.stdout[-500:]}")
    return done


def trimmed_and_verified(done):
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    return job["trim"]["total_ios"], job["read"]["total_ios"]


def story(store, disk_class):
    with Rig(args.bin, store) as rig:
        disk = rig.create("d-fio", 128 * MIB, disk_class)
        diskd = rig.diskd("worker-1")
        diskd.open(disk)
        load = ["--rw=randwrite", "--bs=4k", "--iodepth=32", f"--io_size={args.io_mib * MIB}"]
        mixed = [*load, "--trim_percentage=10", "--trim_verify_zero=1", "--trim_backlog=64", "--verify_backlog=1000", "--fsync=500"]
        trims, reads = trimmed_and_verified(fio(diskd, disk, "mixed", *mixed))
        check(trims > 100 and reads > 1000, f"fio trimmed {trims} times and verified {reads} times")

        # Written, killed at once, and verified by the one that comes after.
        fio(diskd, disk, "written", *load, "--bs=8k", "--do_verify=0")
        diskd.kill()
        diskd.start()
        diskd.wait_served(disk)
        fio(diskd, disk, "written", *load, "--bs=8k", "--verify_only")

        # Killed while fio writes: it sees the connection end; the next one verifies a whole disk of its own.
        running = subprocess.Popen(
            ["fio", "--name=cut", "--ioengine=nbd", f"--uri={diskd.uri(disk)}", f"--size={disk.size}", "--rw=randtrimwrite", "--bs=4k", "--iodepth=32",
             "--time_based", "--runtime=30"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=rig.root)
        rig.processes.append(running)
        try:
            running.wait(1)
            check(False, "fio ended before its server was killed")
        except subprocess.TimeoutExpired:
            pass
        diskd.kill()
        check(running.wait(30) != 0, "fio did not see that its server was killed")
        diskd.start()
        diskd.wait_served(disk)
        again = ["--rw=write", "--bs=64k", "--iodepth=8", f"--io_size={disk.size}"]
        fio(diskd, disk, "whole", *again)

        handle = nbd.NBD()
        handle.connect_uri(diskd.uri(disk))
        handle.pwrite(b"\x01", 12345 * 512)
        handle.shutdown()
        found = fio(diskd, disk, "whole", *again, "--verify_only", expect_error=True)
        check(found.returncode != 0 and "verify" in found.stderr + found.stdout, f"fio does not see a changed byte: {found}")
        diskd.seal(disk)
        rig.offline_check(disk)
        print(f"{store}, {disk_class}: {trims} trims, {reads} reads verified before a kill, {args.io_mib} MiB after", flush=True)


story("folder", "local")
story("s3", "remote")
