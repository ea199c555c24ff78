#!/usr/bin/env python3
"""Who may remove what from a bucket: a disk daemon writes with a key that may not delete, and asks for no deletion; the control
plane gives the space back with a key of its own, and says so when it may not.

Usage: rights_test.py --bin DIR"""
import json
import pathlib
import re
import subprocess
import sys
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "disk_process"))
from rig import MIB, Disk, Rig, arguments, check  # noqa: E402
from fleet import Program, free_port, wait_until  # noqa: E402
from stamped_writer import connect  # noqa: E402
from s3_client import S3Client  # noqa: E402

DISK_BYTES, ROUNDS = 4 * MIB, 12


class Cell:
    """The control plane alone: its disks are opened by the test, as an agent would."""

    def __init__(self, rig):
        self.rig, self.root, self.port = rig, rig.root / "control", free_port()
        self.config = rig.root / "ebbd.toml"
        self.program = Program([rig.bin / "ebbd", "--config", self.config], rig.root / "ebbd.log")

    def start(self, pool):
        self.config.write_text(f'state_dir = "{self.root}"\nlisten = "127.0.0.1:{self.port}"\nreclaim_every = "500ms"\n'
                               f'[pools.main]\nurl = "{pool}"\ndefault_class = "remote"\n')
        self.program.start()
        wait_until(self.answers, 30, "the control plane answers")

    def answers(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status == 200
        except OSError:
            return False

    def ebb(self, *words):
        done = subprocess.run([self.rig.bin / "ebb", "--server", f"127.0.0.1:{self.port}", "--token-file", self.root / "operator.token",
                               *map(str, words)], capture_output=True, text=True, timeout=60)
        check(done.returncode == 0, f"ebb {words}: {done.stdout}{done.stderr}")
        return done.stdout

    def metric(self, name):
        lines = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5).read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))

    def make_disk(self):
        raw = self.rig.root / "disk.raw"
        raw.write_bytes(b"d" * DISK_BYTES)
        self.ebb("images", "import", "img", "--kernel", "/bin/true", "--disk", raw)  # any ELF: nothing boots it
        self.ebb("run", "vm", "--image", "img")
        found = wait_until(lambda: [d for d in json.loads(self.ebb("--json", "disks")) if d["state"] == "ready"], 30, "the disk is made")
        return Disk(found[0]["id"], DISK_BYTES, "remote")


def write_garbage(daemon, disk):
    """Each round is a segment, and leaves nothing of the round before alive."""
    daemon.open(disk)
    handle = connect(daemon.uri(disk))
    for number in range(ROUNDS):
        handle.pwrite(bytes([number + 1]) * DISK_BYTES, 0)
        handle.flush()
    handle.shutdown()
    daemon.seal(disk)


def main():
    args = arguments(__doc__)
    with Rig(args.bin, "s3", s3_options=("--no-delete-key", "WORKER:S2")) as rig:
        def stats():
            return json.loads(urllib.request.urlopen(f"{rig.s3.endpoint}/-/stats", timeout=10).read())

        def deletions(key):
            return stats()["requests_of_keys"].get(f"{key} DELETE", 0)

        def segments():
            """How many of the disk's are in the bucket, and their bytes."""
            client = S3Client(rig.s3.endpoint.removeprefix("http://"), "A", "S")
            listed = client.call("GET", "/pool", query={"list-type": "2", "prefix": "cell-1/s/"}).body.decode()
            client.close()
            sizes = [int(size) for size in re.findall(f"<Key>[^<]*/{disk.name}/.*?<Size>(\\d+)</Size>", listed)]
            return len(sizes), sum(sizes)

        owners_pool = rig.pool
        credentials = rig.root / "worker.ini"
        credentials.write_text("[default]\naws_access_key_id = WORKER\naws_secret_access_key = S2\n")
        rig.pool = workers_pool = f"s3://pool/cell-1?endpoint={rig.s3.endpoint}&credentials={credentials}"
        cell = Cell(rig)
        rig.at_end(cell.program.kill)
        cell.start(workers_pool)  # a control plane with a worker's key
        disk = cell.make_disk()
        daemon = rig.diskd("worker-a")
        write_garbage(daemon, disk)
        before = segments()
        check(before[0] >= ROUNDS, f"{before} segments, and bytes of them")
        wait_until(lambda: cell.metric("ebb_reclaim_blocked_pools") == 1, 30, "the gauge tells that space is not given back")
        check("space cannot be given back" in (rig.root / "ebbd.log").read_text(), "the log says why")
        check(stats()["statuses"].get("403", 0) > 0 and cell.metric("ebb_reclaimed_objects_total") == 0, "each deletion was refused")
        check(segments() == before, f"nothing is gone: {before}, {segments()}")

        cell.program.stop()
        refused = deletions("WORKER")  # all of them the control plane's
        cell.start(owners_pool)
        wait_until(lambda: cell.metric("ebb_reclaimed_objects_total") >= ROUNDS - 2, 30, "space is given back")
        wait_until(lambda: cell.metric("ebb_reclaim_blocked_pools") == 0, 30, "the gauge is quiet")
        after = segments()
        check(after[0] <= before[0] - (ROUNDS - 2) and after[1] < before[1] // 2, f"(segments, bytes): {before} have become {after}")
        write_garbage(daemon, disk)
        check(deletions("WORKER") == refused, "the disk daemon asks for no deletion")
        check(deletions("A") >= ROUNDS - 2, "the control plane does, with its own key")
        rig.offline_check(disk)
        print(f"{refused} deletions refused with a worker's key, {deletions('A')} carried out with the control plane's, "
              f"the daemon asked for none; (segments, bytes): {before} -> {after}")


main()
