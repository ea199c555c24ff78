"""Faults of a worker's surroundings get a clear error, change nothing and lose nothing: QEMU missing, a port in use, a full disk,
a state folder of a newer version, a second instance, a truncated image."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess

from e2e import Fleet, arguments, check, expect_failure, records_are_whole, start_vms, wait_until

args = arguments()


def run_once(program, path=None):
    env = dict(os.environ, PATH=path) if path else None
    return subprocess.run(program.words, capture_output=True, text=True, timeout=20, env=env)


@contextlib.contextmanager
def small_disk(path):
    """A file system of 96 MiB on `path`: logs are written ahead of need."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=0711", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path):
    """Takes all the room there is; returns the file that does."""
    hog = path / "fill"
    with open(hog, "wb", buffering=0) as out:
        with contextlib.suppress(OSError):
            while True:
                out.write(b"x" * 4096)
    return hog


def now_uses(config, old, new):
    config.write_text(config.read_text().replace(str(old), str(new)))


with Fleet(args.bin, args.guest, workers=2, memory="700MiB") as fleet:
    fleet.start()

    # A second instance on the same state is refused; so is a port that is taken.
    expect_failure(run_once(fleet.control), 1, "another process")
    for program in (fleet.workers["worker-1"].agent, fleet.workers["worker-1"].diskd):
        done = run_once(program)
        check(done.returncode != 0 and done.stderr.strip(), f"a second instance must be refused: {done}")
    other = fleet.root / "other.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other.write_text(f'state_dir = "{fleet.root}/other"\nlisten = "127.0.0.1:{port}"\n[pools.main]\nurl = "dir:{fleet.root}/pool"\n')
        expect_failure(subprocess.run([fleet.bin / "ebbd", "--config", other], capture_output=True, text=True, timeout=20), 1, "in use")
    other.write_text(f'state_dir = "{fleet.root}/other"\nlisten = "0.0.0.0:1"\n[pools.main]\nurl = "dir:{fleet.root}/pool"\n')
    expect_failure(subprocess.run([fleet.bin / "ebbd", "--config", other], capture_output=True, text=True, timeout=20), 2, "loopback", "other.toml", "listen")
    other.write_text(f'state_dir = "{fleet.root}/other"\nlisten = "127.0.0.1:0"\nspeed = 3\n[pools.main]\nurl = "dir:{fleet.root}/pool"\n')
    expect_failure(subprocess.run([fleet.bin / "ebbd", "--config", other], capture_output=True, text=True, timeout=20), 2, "speed", "3")

    # A state folder of a newer version is left alone.
    newer = fleet.root / "newer"
    shutil.copytree(fleet.root / "control", newer)
    db = sqlite3.connect(newer / "records.db")
    db.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    db.commit()
    db.close()
    other.write_text(f'state_dir = "{newer}"\nlisten = "127.0.0.1:0"\n[pools.main]\nurl = "dir:{fleet.root}/pool"\n')
    expect_failure(subprocess.run([fleet.bin / "ebbd", "--config", other], capture_output=True, text=True, timeout=20), 2, "newer version")

    # A truncated image is refused, and nothing is left of it.
    short = fleet.root / "short"
    data = (fleet.guest / "vmlinux").read_bytes()
    short.write_bytes(data[:len(data) // 2])
    expect_failure(fleet.ebb("images", "import", "short", "--kernel", short, check=False), 2, "truncated")
    disk = fleet.root / "short.raw"
    disk.write_bytes((fleet.guest / "disk.raw").read_bytes()[:32 * 1024 * 1024])
    expect_failure(fleet.ebb("images", "import", "short", "--kernel", fleet.guest / "vmlinux", "--disk", disk, check=False), 2, "truncated")
    check(not fleet.items("images"), "nothing is left of a refused image")

    # Without QEMU a worker says so, its VMs go elsewhere, and the drain of that worker is not held up.
    start_vms(fleet, ["db-1"])
    source = fleet.worker_of("db-1")
    target = next(w for w in fleet.workers if w != source)
    agent = fleet.workers[target].agent
    agent.stop()
    empty = fleet.root / "empty-path"
    empty.mkdir()
    old = os.environ["PATH"]
    os.environ["PATH"] = str(empty)
    agent.start()
    os.environ["PATH"] = old
    wait_until(lambda: fleet.get(f"/v1/workers/{target}")["liveness"] == "ready", 30, "the agent is back")
    fleet.ebb("migrate", "db-1", "--to", target)
    wait_until(lambda: "qemu-system-x86_64" in fleet.ebb("why", "db-1").stdout, 60, "the fault is named")
    wait_until(lambda: fleet.worker_of("db-1") == source and fleet.vm("db-1")["seen"] == "running", 120, "db-1 is placed anew")
    wait_until(lambda: "anew" in fleet.ebb("events").stdout, 10, "it is said that db-1 was placed anew")
    agent.stop()
    agent.start()
    fleet.watch.wait_for_more("db-1")

    # A full disk under a worker's log: the guest waits without an error, `why` names it, and it goes on when there is room.
    diskd = fleet.workers[source].diskd
    with small_disk(fleet.root / "small-worker") as small:
        diskd.stop()
        shutil.copytree(fleet.workers[source].root / "diskd", small / "diskd")
        now_uses(fleet.workers[source].root / "diskd.toml", fleet.workers[source].root / "diskd", small / "diskd")
        hog = fill(small)  # a log that runs has its room already: one that begins needs some
        diskd.start()
        wait_until(lambda: "space" in fleet.ebb("why", "db-1").stdout, 60, "the full disk is named")
        last = fleet.watch.last("db-1")[1]
        hog.unlink()
        fleet.watch.wait_for_more("db-1")
        check(fleet.watch.last("db-1")[1] > last, "db-1 writes on")
        wait_until(lambda: "space" not in fleet.ebb("why", "db-1").stdout, 60, "all is well again")
        records_are_whole(fleet, ["db-1"])
        diskd.stop()
    now_uses(fleet.workers[source].root / "diskd.toml", fleet.root / "small-worker" / "diskd", fleet.workers[source].root / "diskd-new")
    diskd.start()

    # A full disk under the records: the request is refused, nothing changes, and it works again when there is room.
    fleet.control.stop()
    with small_disk(fleet.root / "small") as small:
        shutil.copytree(fleet.root / "control", small / "control")
        now_uses(fleet.root / "ebbd.toml", fleet.root / "control", small / "control")
        fleet.start_control()
        hog = fill(small)
        refused = [fleet.api("POST", "/v1/workers/worker-1:cordon", {"reason": "x" * 3000}) for _ in range(40)]
        failures = [body for status, body in refused if status != 200]
        check(not failures or all("space" in b["message"] for b in failures), f"{failures[:1]}")
        done = fleet.api("POST", "/v1/vms", {"id": "big", "spec": {"image": "witness", "labels": {"x": "y" * 60000}}})
        check(done[0] == 503 and "space" in done[1]["message"], f"a full disk must be named: {done}")
        check(fleet.api("GET", "/v1/vms/big")[0] == 404, "what was not stored is not there")
        hog.unlink()
        status, body = fleet.api("POST", "/v1/workers/worker-2:cordon", {"reason": "room again"})
        check(status == 200, f"{body}")
        fleet.control.stop()
    print("ok")
