"""kill -9 of the control plane, of an agent or of a disk daemon in every phase of a drain, then a restart: the drain ends, no
record is lost, no VM runs twice, no guest sees an I/O error. `--slice N` runs N of the cases, others at each commit."""

import http.client
import json
import time

from e2e import Fleet, arguments, check, commit_number, records_are_whole, start_vms, wait_until

PHASES = ["reserving", "preparing", "freezing", "moving_lease", "starting", "releasing"]
VICTIMS = ["ebbd", "source agent", "source diskd", "target agent", "target diskd"]
NAMES = ["db-1", "db-2"]

args = arguments(slice=int, only=str)
cases = [(victim, phase) for victim in VICTIMS for phase in PHASES]
if args.slice:
    first = commit_number() % len(cases)
    cases = [cases[(first + i * 7) % len(cases)] for i in range(args.slice)]  # 7 and 30 have no common divisor
if args.only:
    cases = [c for c in cases if " ".join(c) == args.only]


def migration_in(fleet, drain, phase, limit_s=60):
    """Waits, asking every few ms, until a move of the drain has come as far as `phase`; its record."""
    connection = http.client.HTTPConnection(fleet.address, timeout=10)
    headers = {"authorization": "Bearer " + fleet.token_file.read_text().strip()}
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        connection.request("GET", f"/v1/drains/{drain}", headers=headers)
        view = json.loads(connection.getresponse().read())
        for item in view["migrations"]:
            migration = item["migration"]
            if PHASES.index(phase) <= (PHASES + ["done"]).index(migration["phase"]):
                return migration
        time.sleep(0.002)
    raise TimeoutError(f"no move reached {phase}")


def run_case(fleet, victim, phase):
    source = fleet.worker_of("db-1")
    drain = json.loads(fleet.ebb("drain", source, "--detach", "--json").stdout)["drain"]["id"]
    migration = migration_in(fleet, drain, phase)
    if victim == "ebbd":
        program = fleet.control
    else:
        end, kind = victim.split()
        worker = fleet.workers[migration[end]]
        program = worker.agent if kind == "agent" else worker.diskd
    program.kill()
    time.sleep(1)
    program.start()
    wait_until(fleet.is_ready, 20, "the control plane is ready")
    view = fleet.wait_drain(drain, 120)
    check(view["status"] == "done", f"{victim} killed in {phase}: the drain is {view['status']}")
    check(not fleet.workers[source].machine_pids(), f"{victim} killed in {phase}: QEMU still runs on {source}")
    fleet.wait_running(NAMES)
    for name in NAMES:
        fleet.watch.wait_for_more(name)
        check(fleet.worker_of(name) != source, f"{name} is still on {source}")
        where = [w.name for w in fleet.workers.values() for _, vm in w.machines_running() if vm == name]
        check(len(where) == 1, f"{victim} killed in {phase}: {name} runs on {where}")
    # What was killed is back, and its agent may not have heard of it yet.
    wait_until(lambda: fleet.ebb("return", source, check=False).returncode == 0, 20, f"{source} is returned")
    print(f"ok: kill -9 of {victim} in {phase} (was {migration['phase']})", flush=True)


with Fleet(args.bin, args.guest, workers=2, memory="900MiB") as fleet:
    fleet.start()
    start_vms(fleet, NAMES)
    for case in cases:
        run_case(fleet, *case)
    records_are_whole(fleet, NAMES)
