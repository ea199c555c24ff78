"""Nothing has a second writer: an agent and a disk daemon that are cut off, and go on after their VM was started elsewhere,
cannot make one more record durable in the store."""

import signal
import time

from e2e import Fleet, arguments, check, no_guest_saw_an_error, start_vms, wait_until

args = arguments()

with Fleet(args.bin, args.guest, workers=2, memory="700MiB") as fleet:
    config = fleet.root / "ebbd.toml"
    config.write_text(config.read_text() + '[liveness]\nsilent = "2s"\nsuspect = "6s"\n')
    fleet.start()
    start_vms(fleet, ["db-1"])
    source = fleet.worker_of("db-1")
    worker = fleet.workers[source]
    wait_until(lambda: fleet.watch.last("db-1")[1] > 50, 60, "db-1 has written 50 records")

    refused = fleet.ebb("drain", source, "--dead", check=False)
    check(refused.returncode != 0, "a worker that answers cannot be declared dead")

    for program in (worker.agent, worker.diskd):
        program.signal(signal.SIGSTOP)
    wait_until(lambda: fleet.get(f"/v1/workers/{source}")["liveness"] != "ready", 30, f"{source} is silent")
    check(fleet.worker_of("db-1") == source, "silence alone moves nothing")
    frozen_at = fleet.watch.last("db-1")[1]
    fleet.ebb("drain", source, "--dead", "--detach")
    wait_until(lambda: fleet.worker_of("db-1") != source and fleet.vm("db-1")["seen"] == "running", 90, "db-1 runs elsewhere")
    fleet.watch.wait_for_more("db-1")
    moved_at = time.monotonic()

    for program in (worker.diskd, worker.agent):
        program.signal(signal.SIGCONT)
    wait_until(lambda: not worker.machine_pids(), 60, "the zombie's QEMU has been stopped")
    time.sleep(2)
    # What it may still say is that a record which reached the store before the take-over is durable: it is then part of what
    # the new owner found. Anything beyond that would be a second writer's.
    reports = fleet.watch.reports("db-1")
    first_elsewhere = next(r[2] for r in reports if r[3] != source)
    late = [r for r in reports if r[3] == source and r[0] > moved_at and r[2] >= first_elsewhere]
    check(not late, f"the zombie reported records as durable after its VM ran elsewhere: {late[:3]}")
    check(fleet.watch.last("db-1")[1] > frozen_at, "the VM went on from where it was")
    no_guest_saw_an_error(fleet, ["db-1"], fleet.worker_of("db-1"))
    fleet.stop_vms(["db-1"])
    verdict = fleet.check_records("db-1")
    check(verdict["lost"] == 0 and verdict["bad"] == 0 and verdict["records"] > 0, f"{verdict}")
    print(f"{verdict['records']} records checked, 0 lost")
