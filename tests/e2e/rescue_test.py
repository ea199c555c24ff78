"""A worker dies with acknowledged writes that only its own log holds, its VM goes on elsewhere without them, and it comes back:
what the log holds becomes a disk of its own, whole to the last record that the guest was told to be safe."""

import json
import shutil
import signal
import subprocess
import os

from e2e import Fleet, arguments, check, start_vms, wait_until

args = arguments()


def verdict_on(fleet, disk, reported):
    raw = fleet.root / "kept.raw"
    subprocess.run([fleet.bin / "ebb-disk", "cat", "--pool", fleet.pool, disk, raw], check=True, capture_output=True)
    done = subprocess.run([fleet.bin / "witness-check", "--scratch", "--disk", raw, "--reported", reported],
                          capture_output=True, text=True, check=False)
    raw.unlink()
    return json.loads(done.stdout)


def disks(fleet):
    return {d["id"]: d for d in fleet.items("disks")}


with Fleet(args.bin, args.guest, workers=2, memory="700MiB") as fleet:
    config = fleet.root / "ebbd.toml"
    config.write_text(config.read_text() + '[liveness]\nsilent = "2s"\nsuspect = "6s"\n')
    fleet.start()
    start_vms(fleet, ["db-1"], local=["db-1"])
    source, disk = fleet.worker_of("db-1"), fleet.vm("db-1")["vm"]["disk"]
    worker = fleet.workers[source]
    wait_until(lambda: fleet.watch.last("db-1")[1] > 50, 60, "db-1 has written 50 records")

    # The host dies: nothing is stopped, nothing is sent.
    for program in (worker.agent, worker.diskd):
        program.signal(signal.SIGKILL)
    for pid in worker.machine_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not worker.machine_pids(), 10, "its machines are gone")
    fleet.watch.scan()
    told_safe = fleet.watch.last("db-1")[1]
    reported = fleet.root / "reported-before.log"
    shutil.copy(fleet.watch.record_of("db-1"), reported)

    wait_until(lambda: fleet.get(f"/v1/workers/{source}")["liveness"] != "ready", 30, f"{source} is silent")
    fleet.ebb("drain", source, "--dead")
    wait_until(lambda: fleet.vm("db-1")["seen"] == "running", 90, "db-1 runs elsewhere")
    cut = disks(fleet)[disk]["snapshots"]
    check(len(cut) == 1 and cut[0]["cut_of"]["worker"] == source, f"the state that was taken over is kept: {cut}")
    fleet.watch.wait_for_more("db-1")

    for program in (worker.diskd, worker.agent):
        program.start()
    wait_until(lambda: any("rescue" in d for d in disks(fleet).values()), 60, "a disk is made for what the log holds")
    kept = next(d for d in disks(fleet).values() if "rescue" in d)
    print(f"{kept['id']}: {kept['rescue']['records']} records of the log, {kept['rescue']['bytes']} bytes", flush=True)
    check(kept["rescue"]["records"] > 0, f"{kept}")
    # Held since its drain; it is in service again only when nothing of value lies on it.
    drained = fleet.ebb("drain", source)
    check("done" in drained.stdout + drained.stderr, f"the worker is empty: {drained.stdout}{drained.stderr}")
    check(disks(fleet)[kept["id"]]["rescue"]["state"] == "written", "its log stands in the pool before its drain is done")
    check(not list((worker.root / "diskd" / "disks").glob("*/log-*")), "and is not on the worker any more")
    verdict = verdict_on(fleet, kept["id"], reported)
    check(verdict["lost"] == 0 and verdict["bad"] == 0, f"{verdict}")
    check(verdict["records"] >= told_safe, f"{verdict}: the guest was told that {told_safe} records are safe")
    why = fleet.ebb("why", "vms/db-1").stdout
    check(kept["id"] in why and f"{kept['rescue']['records']} record" in why, f"the operator is told: {why}")

    # What an operator does with it: looks at it with a VM of its own, and lets go of it.
    fleet.ebb("snapshot", kept["id"], "--name", "look", "--wait")
    fleet.ebb("fork", f"{kept['id']}@look", "db-old", "--wait")
    fleet.watch.wait_for_more("db-old")
    check(fleet.watch.last("db-old")[1] >= told_safe, "the fork goes on where the dead worker's guest was")
    refused = fleet.ebb("disks", "rm", kept["id"], check=False)
    check(refused.returncode != 0 and "look" in refused.stderr, f"its snapshot would be lost: {refused.stderr}")
    fleet.ebb("rm", "db-old", "--wait")
    fleet.ebb("snapshots", "rm", kept["id"], "look", "--wait")
    fleet.ebb("disks", "rm", kept["id"])
    wait_until(lambda: list(disks(fleet)) == [disk] and not disks(fleet)[disk]["snapshots"], 60, "the cut has gone with it")
    print(f"{verdict['records']} records checked, 0 lost", flush=True)
