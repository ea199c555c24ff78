"""No space left: under a worker's logs, under the pool, under an agent's state folder, under the control plane's records. What waits
says so, nothing is lost, and all goes on when there is room. Small file systems have to be mounted: without root it is skipped."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from e2e import Fleet, arguments, check, now_uses, records_are_whole, start_vms, wait_until

SKIPPED = 77

args = arguments()


@contextlib.contextmanager
def small_disk(path, mib=96):
    """A file system of its own on `path`. Logs are written ahead of need."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0711", "tmpfs", path], check=True)
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


def why(fleet, vm):
    return fleet.ebb("why", vm).stdout


def names_the_space(fleet, vm):
    wait_until(lambda: "no space left" in why(fleet, vm), 90, f"why {vm} names the full disk")


def witness_over_http(fleet, vm):
    port = fleet.vm(vm)["ports"]["http"]
    done = subprocess.run(["curl", "-sS", "-m", "20", f"http://127.0.0.1:{port}/"], capture_output=True, text=True)
    check(done.returncode == 0, f"{vm} answers on port {port}: {done.stderr}")
    return json.loads(done.stdout)


def full_log(fleet, worker):
    """The guest waits without an error, and goes on when there is room."""
    before, small = worker.root / "diskd", fleet.root / "small-log"
    with small_disk(small):
        worker.diskd.stop()
        shutil.copytree(before, small / "diskd")
        now_uses(worker.root / "diskd.toml", before, small / "diskd")
        hog = fill(small)  # a log that runs has its room already: one that begins needs some
        worker.diskd.start()
        names_the_space(fleet, "db-1")
        last = fleet.watch.last("db-1")[1]
        hog.unlink()
        fleet.watch.wait_for_more("db-1")
        check(fleet.watch.last("db-1")[1] > last, "db-1 writes on")
        wait_until(lambda: "space" not in why(fleet, "db-1"), 60, "all is well again")
        fleet.stop_vms(["db-1"])
        worker.diskd.stop()
    now_uses(worker.root / "diskd.toml", small / "diskd", worker.root / "diskd-new")
    worker.diskd.start()
    fleet.ebb("start", "db-1")
    fleet.wait_running(["db-1"])
    fleet.watch.wait_for_more("db-1")


def full_pool(fleet, pool):
    """db-1 is of class remote: nothing of it is durable before the pool has it."""
    hog = fill(pool)
    names_the_space(fleet, "db-1")
    last = fleet.watch.last("db-1")[1]
    check(fleet.vm("db-1")["seen"] == "running", "the guest waits, and is not ended")
    hog.unlink()
    fleet.watch.wait_for_more("db-1")
    check(fleet.watch.last("db-1")[1] > last, "db-1 writes on")
    wait_until(lambda: "space" not in why(fleet, "db-1"), 60, "all is well again")


def drop_halves_of_lines(fleet, vm):
    """What guests report goes to the full disk too. A line that says which boot goes on ("C 1f"), cut short and run together with the
    next one ("C 1f2e3d4c"), would name a boot that never was ("1fC")."""
    with fleet.watch.lock:
        record = fleet.watch.record_of(vm)
        lines = record.read_bytes().splitlines(keepends=True)
        boots = {line.split()[-1] for line in lines if line.startswith(b"B ")}
        record.write_bytes(b"".join(line for line in lines if not line.startswith(b"C ") or line.split()[1:] in [[b] for b in boots]))


def full_agent(fleet, worker):
    """Nothing new begins there, and says why; what runs there runs on. (Its reports would go to the full disk: it is asked by its port.)"""
    fleet.run_vm("api-1", False, "--port", "http=80")
    fleet.wait_running(["api-1"])
    fleet.watch.wait_for_more("api-1")
    hog = fill(worker.root / "agent")
    before = witness_over_http(fleet, "api-1")
    fleet.ebb("run", "late", "--image", "witness", "--memory", "128M", "--stateless")
    names_the_space(fleet, "late")
    wait_until(lambda: witness_over_http(fleet, "api-1")["last"] > before["last"], 60, "api-1 writes on")
    check(witness_over_http(fleet, "api-1")["boot"] == before["boot"], "api-1 has not booted again")
    hog.unlink()
    fleet.wait_running(["late"])
    check(why(fleet, "late").find("space") < 0, "all is well again")
    drop_halves_of_lines(fleet, "db-1")
    with fleet.watch.lock:
        fleet.watch.record_of("api-1").write_bytes(b"")  # with the halves of lines that the full disk left


def full_records(fleet):
    """The request is refused, nothing changes, and it works again when there is room."""
    fleet.control.stop()
    with small_disk(fleet.root / "small-control") as small:
        shutil.copytree(fleet.root / "control", small / "control")
        now_uses(fleet.root / "ebbd.toml", fleet.root / "control", small / "control")
        fleet.start_control()
        hog = fill(small)
        kept = None
        for number in range(2000):  # the log of the records may have some room yet
            status, body = fleet.api("POST", "/v1/workers/worker-1:cordon", {"reason": f"try {number}"})
            if status != 200:
                break
            kept = f"try {number}"
        check(status == 503 and "no space left" in body["message"], f"a full disk is named: {status} {body}")
        holds = json.dumps(fleet.get("/v1/workers/worker-1"))
        check(f"try {number}" not in holds and (kept is None or kept in holds), f"what was not stored is not there: {holds}")
        status, body = fleet.api("POST", "/v1/vms", {"id": "big", "spec": {"image": "witness"}})
        check(status == 503 and "no space left" in body["message"], f"a full disk is named: {status} {body}")
        check(fleet.api("GET", "/v1/vms/big")[0] == 404, "what was not stored is not there")
        hog.unlink()
        status, body = fleet.api("POST", "/v1/workers/worker-2:cordon", {"reason": "room again"})
        check(status == 200, f"{body}")
        fleet.control.stop()


if os.geteuid() != 0:
    print("skipped: mounting a small file system needs root")
    sys.exit(SKIPPED)

with contextlib.ExitStack() as stack:
    # The mounts outlive the fleet: machines whose folder is no longer to be seen would not be found, and not be ended.
    root = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ebb-full-")))
    pool = stack.enter_context(small_disk(root / "pool", 384))
    stack.enter_context(small_disk(root / "worker-1" / "agent", 256))
    fleet = stack.enter_context(Fleet(args.bin, args.guest, workers=2, memory="900MiB", root=root))
    worker = fleet.workers["worker-1"]
    fleet.start()
    fleet.ebb("cordon", "worker-2", "--reason", "all happens on worker-1")
    start_vms(fleet, ["db-1"])
    full_log(fleet, worker)
    print("ok: logs", flush=True)
    full_pool(fleet, pool)
    print("ok: pool", flush=True)
    full_agent(fleet, worker)
    print("ok: the agent's state folder", flush=True)
    records_are_whole(fleet, ["db-1"])
    full_records(fleet)
    print("ok: records", flush=True)
