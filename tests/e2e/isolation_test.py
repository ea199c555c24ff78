"""A guest whose worker hears neither of the control plane nor of the store is paused before anybody else may serve its disk, and
runs on by itself. One of the two is enough to run."""

import pathlib
import signal
import time

from e2e import Fleet, arguments, check, records_are_whole, start_vms, wait_until

args = arguments()
CUT_OFF_S, SERVED_ELSEWHERE_S = 10, 15


def is_paused(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


with Fleet(args.bin, args.guest, workers=1, memory="700MiB") as fleet:
    fleet.start()
    start_vms(fleet, ["db-1"])
    (pid,) = fleet.workers["worker-1"].machine_pids()
    pool, away = fleet.root / "pool", fleet.root / "pool-away"

    fleet.control.signal(signal.SIGSTOP)
    time.sleep(CUT_OFF_S + 3)
    check(not is_paused(pid), "a guest runs on while the store says whose its disk is")
    fleet.watch.wait_for_more("db-1")

    pool.rename(away)
    began = time.monotonic()
    wait_until(lambda: is_paused(pid), SERVED_ELSEWHERE_S, "the guest is paused in time")
    print(f"paused {time.monotonic() - began:.1f} s after the store fell silent", flush=True)
    check(time.monotonic() - began > CUT_OFF_S - 4, "a short silence pauses nobody")

    away.rename(pool)
    wait_until(lambda: not is_paused(pid), 10, "the guest runs on when the store names its worker")
    fleet.watch.wait_for_more("db-1")

    pool.rename(away)
    wait_until(lambda: is_paused(pid), SERVED_ELSEWHERE_S, "the guest is paused again")
    fleet.control.signal(signal.SIGCONT)
    wait_until(lambda: not is_paused(pid), 15, "the guest runs on when the control plane answers")
    wait_until(lambda: "pool" in fleet.ebb("why", "db-1").stdout or "store" in fleet.ebb("why", "db-1").stdout, 30, "the silent store is named")
    away.rename(pool)
    fleet.watch.wait_for_more("db-1")
    records_are_whole(fleet, ["db-1"])
