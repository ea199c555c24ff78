"""The checks that the tests with real VMs end with can fail: each is shown what it must not let pass. Needs no VM."""

import pathlib
import subprocess
import tempfile
import types

import e2e
from e2e import Fleet, wait_until


def fails(what, says):
    try:
        what()
    except AssertionError as failed:
        assert says in str(failed), f"'{says}' is not in: {failed}"
        return
    raise AssertionError(f"a check let pass: {says}")


def fleet_that_saw(reports, owners=(), root="/nonexistent"):
    watch = types.SimpleNamespace(bad=lambda vm: [], reports=lambda vm: reports)
    return types.SimpleNamespace(root=pathlib.Path(root), watch=watch, owners=lambda vm: list(owners))


def complaints_of_guests(root):
    fleet = fleet_that_saw([], root=root)
    look = lambda *where: e2e.no_guest_saw_an_error(fleet, ["db-1"], *where)  # noqa: E731
    fails(look, "no console")
    for place in ("machines/db-1/console.log", "machines/db-1/console.log.1", "logs/db-1.1700000000000/console.log",
                  "logs/db-1.1700000000000/console.log.1"):
        console = root / "worker-1" / "agent" / place
        console.parent.mkdir(parents=True, exist_ok=True)
        console.write_text("[ 1.0] booted\n")
        look()
        console.write_text("[ 1.0] booted\n[ 9.9] blk_update_request: I/O error, dev vda\n")
        fails(look, str(console))
        fails(lambda: look("worker-2"), "no console")
        console.write_text("[ 1.0] booted\n")


def guests_that_speak_in_turn():
    def spoke(*said):
        return [(i, "D", number, worker) for i, (number, worker) in enumerate(said)]

    def look(reports, owners):
        e2e.ran_in_one_place_at_a_time(fleet_that_saw(reports, owners), ["db-1"])

    there_and_back = spoke((1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "a"))
    look(there_and_back, ["a", "b", "a"])
    look(there_and_back, ["a", "c", "b", "c", "a"])  # it need not have spoken everywhere
    fails(lambda: look(there_and_back, ["a", "b"]), "was given to")
    fails(lambda: look(spoke((1, "b")), ["a"]), "was given to")
    fails(lambda: look(spoke((1, "a"), (3, "a"), (2, "b")), ["a", "b"]), "step back")


def machines_that_run_twice(root):
    """Programs called qemu, which run in folders of machines, are all that it looks for."""
    fleet = Fleet(root, root, workers=2, root=root / "fleet")
    programs = []

    def machine(worker, vm):
        folder = fleet.workers[worker].machines / vm
        folder.mkdir(parents=True, exist_ok=True)
        programs.append(subprocess.Popen(["qemu-of-a-test", "600"], executable="/bin/sleep", cwd=folder))

    def looked(runs):
        before = runs.looks
        wait_until(lambda: runs.looks > before + 1, 30, "it looks")

    try:
        with e2e.RunsOnce(fleet) as runs:
            machine("worker-1", "db-1")
            machine("worker-2", "db-2")
            looked(runs)
            runs.check()
            machine("worker-2", "db-1")
            wait_until(lambda: runs.found, 30, "it finds db-1 twice")
            fails(runs.check, "db-1")
    finally:
        for program in programs:
            program.kill()
            program.wait()


with tempfile.TemporaryDirectory(prefix="ebb-checks-") as folder:
    complaints_of_guests(pathlib.Path(folder))
    guests_that_speak_in_turn()
    machines_that_run_twice(pathlib.Path(folder))
print("ok")
