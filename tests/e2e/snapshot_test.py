"""Snapshots of a disk that is written on, forks of them, restores there and back: with real guests, over a drain, kill -9 of the disk
daemon and of the control plane. What a guest had reported before a snapshot is in it, and what a restore left can be had again."""

import json
import subprocess

from e2e import Fleet, arguments, check, expect_failure, no_guest_saw_an_error, records_are_whole, start_vms, wait_until

args = arguments()


def snapshot_of(fleet, vm, name):
    disk = fleet.get(f"/v1/disks/{fleet.vm(vm)['vm']['disk']}")
    return next((s for s in disk.get("snapshots", []) if s["name"] == name), None)


def first_found(fleet, vm, since):
    """The number that the guest found on its disk when it first spoke after `since` reports."""
    return wait_until(lambda: (lambda new: new[0][2] if new else None)(fleet.watch.reports(vm)[since:]), 60, f"{vm} speaks")


def take_reports(fleet, vm):
    """What the guest had reported until now; later reports go into an empty file."""
    path = fleet.watch.record_of(vm)
    with fleet.watch.lock:
        reported = path.read_bytes()
        path.write_bytes(b"")
    return reported


def has_all(fleet, vm, reported):
    fleet.watch.record_of(vm).write_bytes(reported)
    verdict = fleet.check_records(vm)
    check(verdict["lost"] == 0 and verdict["bad"] == 0 and verdict["records"] > 0, f"{vm}: {verdict}")
    return verdict["records"]


def scrub(fleet, vm):
    done = subprocess.run([fleet.bin / "ebb-disk", "scrub", "--pool", fleet.pool, fleet.vm(vm)["vm"]["disk"]], capture_output=True, text=True)
    check(done.returncode == 0, f"scrub of {vm}: {done.stdout} {done.stderr}")


with Fleet(args.bin, args.guest, workers=2) as fleet:
    fleet.start()
    start_vms(fleet, ["db"])
    home = fleet.worker_of("db")

    before_monday = fleet.watch.last("db")[1]
    fleet.ebb("snapshot", "db", "--name", "monday", "--wait")
    after_monday = fleet.watch.wait_for_more("db")[1]
    expect_failure(fleet.ebb("snapshot", "db", "--name", "monday", check=False), 6, "monday")
    expect_failure(fleet.ebb("snapshot", "db", "--name", "No name", check=False), 2, "name")
    expect_failure(fleet.ebb("snapshot", "nobody", "--name", "x", check=False), 4, "nobody")
    expect_failure(fleet.ebb("restore", "db", "monday", check=False), 6, "not stopped")

    # Taken once, whoever dies on the way.
    fleet.ebb("snapshot", "db", "--name", "tuesday")
    fleet.workers[home].diskd.kill()
    fleet.control.kill()
    fleet.start_control()
    fleet.workers[home].diskd.start()
    wait_until(lambda: snapshot_of(fleet, "db", "tuesday")["state"] == "ready", 60, "tuesday is taken")
    fleet.watch.wait_for_more("db")

    fleet.ebb("drain", home, "--reason", "test")
    fleet.watch.wait_for_more("db")
    fleet.ebb("return", home)

    # A fork begins as the snapshot, while the original goes on.
    fleet.ebb("fork", "db@monday", "db-test", "--wait")
    found = first_found(fleet, "db-test", 0)
    check(before_monday <= found <= after_monday, f"the fork found {found}, wanted {before_monday} to {after_monday}")
    fleet.watch.wait_for_more("db-test")
    expect_failure(fleet.ebb("snapshots", "rm", "db", "monday", check=False), 6, "db-test")
    expect_failure(fleet.ebb("rm", "db", check=False), 6, "db-test")

    # There and back.
    no_guest_saw_an_error(fleet, ["db", "db-test"])
    fleet.stop_vms(["db"])
    last_week = take_reports(fleet, "db")
    plan = json.loads(fleet.ebb("restore", "db", "monday", "--plan", "--json").stdout)
    check(plan["writes_undone"] > 0 and not plan["blockers"], f"plan: {plan}")
    fleet.ebb("restore", "db", "monday", "--wait")
    spoken = len(fleet.watch.reports("db"))
    fleet.ebb("start", "db")
    found = first_found(fleet, "db", spoken)
    check(before_monday <= found <= after_monday, f"after the restore the guest found {found}, wanted {before_monday} to {after_monday}")
    fleet.watch.wait_for_more("db")
    fleet.stop_vms(["db"])
    records = has_all(fleet, "db", take_reports(fleet, "db"))
    scrub(fleet, "db")
    fleet.ebb("restore", "db", plan["keep_as"], "--wait")
    records += has_all(fleet, "db", last_week)
    scrub(fleet, "db")
    check("monday" in fleet.ebb("disk", "log", "db").stdout, "the log of the disk tells of it")

    # What nobody needs goes.
    records_are_whole(fleet, ["db-test"])
    fleet.ebb("rm", "db-test")
    wait_until(lambda: fleet.ebb("snapshots", "rm", "db", "monday", check=False).returncode == 0, 60, "monday may be removed when its fork is gone")
    wait_until(lambda: snapshot_of(fleet, "db", "monday") is None, 60, "monday is removed")
    for name in [s["name"] for s in json.loads(fleet.ebb("snapshots", "db", "--json").stdout)["snapshots"]]:
        fleet.ebb("snapshots", "rm", "db", name)
    wait_until(lambda: snapshot_of(fleet, "db", "tuesday") is None, 60, "snapshots are removed")
    has_all(fleet, "db", last_week)
    fleet.watch.record_of("db").write_bytes(b"")
    fleet.ebb("start", "db")
    fleet.watch.wait_for_more("db")
    no_guest_saw_an_error(fleet, ["db"])
    fleet.stop_vms(["db"])
    records += has_all(fleet, "db", take_reports(fleet, "db"))
    print(f"{records} records of a disk that went back and forth", flush=True)
