"""kill -9 of the control plane, of an agent or of a disk daemon in every phase of a drain, then a restart: the drain ends, no
record is lost, no VM runs twice, no guest sees an I/O error. Whoever would end the phase is held (SIGSTOP), so the victim dies
while the records name that phase. `--slice N` runs N of the cases, others at each commit: with 6, every phase is among them."""

import contextlib
import json
import time
from signal import SIGCONT, SIGSTOP

from e2e import Fleet, RunsOnce, arguments, check, commit_number, no_guest_saw_an_error, records_are_whole, start_vms, wait_until

PHASES = ["reserving", "preparing", "freezing", "moving_lease", "starting", "releasing"]
VICTIMS = ["ebbd", "source agent", "source diskd", "target agent", "target diskd"]
DISKS, STATELESS, LOCAL = ["db-1", "db-2"], ["app-1"], ["db-2"]
NAMES = STATELESS + DISKS  # the order in which they move: two at a time, the last one waits
ATTEMPTS = 3

args = arguments(slice=int, only=str)
cases = [(VICTIMS[i % 5], PHASES[i % 6]) for i in range(30)]  # all of them: 5 and 6 have no common divisor
if args.slice:
    first = commit_number() % len(cases)
    cases = [cases[(first + i) % len(cases)] for i in range(args.slice)]
if args.only:
    cases = [c for c in cases if " ".join(c) == args.only]
check(cases, f"there is no case '{args.only}'")


def move_in(fleet, drain, phase):
    """A move of the drain that is in `phase` now."""
    moves = [item["migration"] for item in fleet.get(f"/v1/drains/{drain}")["migrations"]]
    return next((m for m in moves if m["phase"] == phase), None)


def stays_in(fleet, drain, phase, limit_s=20):
    """The move that has come to `phase` and is there still a moment later; None if there is none."""
    with contextlib.suppress(TimeoutError):
        ended = lambda: fleet.get(f"/v1/drains/{drain}")["status"] == "done"  # noqa: E731
        wait_until(lambda: move_in(fleet, drain, phase) or ended(), limit_s, phase)
    time.sleep(0.2)
    return move_in(fleet, drain, phase)


def wait_for_phase(fleet, drain, phase):
    return wait_until(lambda: move_in(fleet, drain, phase), 90, f"a move of {drain} is in {phase}")


class Hold:
    """Programs that stand still until they are let go, or killed."""

    def __init__(self):
        self.held = []

    def stop(self, program):
        program.signal(SIGSTOP)
        self.held.append(program)

    def let_go(self, program):
        self.held.remove(program)
        program.signal(SIGCONT)

    def end(self):
        for program in list(self.held):
            self.let_go(program)


def begin_drain(fleet, source):
    return json.loads(fleet.ebb("drain", source, "--detach", "--json").stdout)["drain"]["id"]


def drain_held_in(fleet, phase, source, target, hold):
    """Begins a drain whose moves come as far as `phase`, and no further."""
    if phase in ("reserving", "preparing"):  # what is prepared keeps the third one waiting
        hold.stop(target.diskd)
    if phase in ("freezing", "moving_lease"):
        hold.stop(source.agent)
    drain = begin_drain(fleet, source.name)
    if phase == "moving_lease":
        wait_for_phase(fleet, drain, "freezing")
        hold.stop(target.agent)
        hold.let_go(source.agent)
    if phase == "starting":  # lasts as long as a guest boots
        wait_for_phase(fleet, drain, "starting")
        hold.stop(target.agent)
    if phase == "releasing":  # the source is empty when it says so for what is wanted of it now: that changes
        wait_for_phase(fleet, drain, "starting")
        hold.stop(source.agent)
        if move_in(fleet, drain, "reserving"):
            fleet.ebb("snapshot", DISKS[-1], "--name", f"in-{drain}", check=False)
    return drain


def ended_well(fleet, drain, source):
    view = fleet.wait_drain(drain, 240)
    check(view["status"] == "done", f"the drain is {view['status']}")
    check(not source.machine_pids(), f"QEMU still runs on {source.name}")
    fleet.wait_running(NAMES)
    for name in NAMES:
        fleet.watch.wait_for_more(name)
        check(fleet.worker_of(name) != source.name, f"{name} is still on {source.name}")
        where = fleet.machines_running().get(name, set())
        check(len(where) == 1, f"{name} runs on {where}")
    no_guest_saw_an_error(fleet, NAMES)
    # What was killed is back, and its agent may not have heard of it yet.
    wait_until(lambda: fleet.ebb("return", source.name, check=False).returncode == 0, 30, f"{source.name} is returned")


def run_case(fleet, runs, victim, phase):
    """False when the phase was over before it could be held: nothing was killed then."""
    source = fleet.workers[fleet.worker_of(NAMES[0])]
    target = next(w for w in fleet.workers.values() if w is not source)
    programs = {"ebbd": fleet.control, "source agent": source.agent, "source diskd": source.diskd, "target agent": target.agent,
                "target diskd": target.diskd}
    hold = Hold()
    drain = drain_held_in(fleet, phase, source, target, hold)
    move = stays_in(fleet, drain, phase)
    if move:
        programs[victim].kill()
        time.sleep(1)
        programs[victim].start()
        if programs[victim] in hold.held:
            hold.held.remove(programs[victim])
        wait_until(fleet.is_ready, 30, "the control plane is ready")
    hold.end()
    ended_well(fleet, drain, source)
    runs.check()
    if move:
        print(f"ok: kill -9 of {victim} while {move['vm']} was in {phase}", flush=True)
    return move is not None


with Fleet(args.bin, args.guest, workers=2, memory="900MiB") as fleet:
    config = fleet.root / "ebbd.toml"
    config.write_text(config.read_text() + '[liveness]\nsilent = "60s"\nsuspect = "120s"\n')  # who is held is not lost
    fleet.start()
    fleet.ebb("cordon", "worker-2", "--reason", "all begin in one place")
    start_vms(fleet, NAMES, STATELESS, LOCAL)
    fleet.ebb("uncordon", "worker-2")
    with RunsOnce(fleet) as runs:
        for case in cases:
            check(any(run_case(fleet, runs, *case) for _ in range(ATTEMPTS)), f"{case}: the phase could not be held {ATTEMPTS} times")
        records_are_whole(fleet, DISKS)
        runs.check()
