"""A drain of a worker with live writers loses no record; cancel, return, cordon and migrate do what they say."""

import json
import subprocess

from e2e import Fleet, arguments, check, expect_failure, records_are_whole, start_vms, wait_until

args = arguments()
DISKS, STATELESS, LOCAL = ["db-1", "db-2"], ["web-1"], ["db-1"]
NAMES = [*DISKS, "api-1", *STATELESS]

def witness_over_http(fleet, name):
    """What the guest answers on its forwarded port, wherever it runs."""
    port = fleet.vm(name)["ports"]["http"]
    done = subprocess.run(["curl", "-sS", "-m", "20", f"http://127.0.0.1:{port}/"], capture_output=True, text=True)
    check(done.returncode == 0, f"{name} answers on port {port}: {done.stderr}")
    return json.loads(done.stdout)


with Fleet(args.bin, args.guest, workers=3, memory="950MiB") as fleet:
    fleet.start()
    for worker in fleet.workers.values():
        check(worker.agent.memory_mb() < 30, f"ebb-agent takes {worker.agent.memory_mb():.0f} MB before its first VM")
    start_vms(fleet, DISKS + STATELESS, STATELESS, LOCAL)
    source = fleet.worker_of("db-1")
    fleet.run_vm("api-1", False, "--port", "http=80")
    fleet.wait_running(["api-1"])
    if fleet.worker_of("api-1") != source:
        fleet.ebb("migrate", "api-1", "--to", source)
        wait_until(lambda: fleet.worker_of("api-1") == source and fleet.vm("api-1")["seen"] == "running", 60, "api-1 has moved")
    before = witness_over_http(fleet, "api-1")

    plan = json.loads(fleet.ebb("drain", source, "--plan", "--json").stdout)
    check({m["vm"] for m in plan["moves"]} == {n for n in NAMES if fleet.worker_of(n) == source}, f"plan: {plan}")
    check(all(m["predicted_interruption_ms"] > 0 and m["target"] != source for m in plan["moves"]), f"plan: {plan}")
    check(not fleet.items("drains"), "a plan changes nothing")

    done = fleet.ebb("drain", source, "--reason", "test")
    check(fleet.get("/v1/drains")["items"][0]["status"] == "done", done.stdout)
    check(not fleet.workers[source].machine_pids(), "a drained worker runs no QEMU")
    check(all(fleet.worker_of(n) != source for n in NAMES), "nothing lives on a drained worker")
    for name in NAMES:
        fleet.watch.wait_for_more(name)
        check(fleet.watch.last(name)[2] != source, f"{name} still speaks from {source}")
    wait_until(lambda: sum(w.disk_metric("ebb_cache_warmed_bytes_total") for w in fleet.workers.values()) > 0, 20, "what a guest used is warm where it went")
    after = witness_over_http(fleet, "api-1")
    check(after["boot"] == before["boot"] + 1 and after["last"] >= before["last"], f"its port follows it: {before} then {after}")
    check(fleet.control.memory_mb() < 100, f"ebbd takes {fleet.control.memory_mb():.0f} MB after a drain")
    idle = fleet.workers[source].agent.memory_mb()
    check(idle < 30, f"ebb-agent takes {idle:.0f} MB when its VMs have left")
    print(f"after the drain: ebbd {fleet.control.memory_mb():.0f} MB, the idle ebb-agent {idle:.0f} MB", flush=True)
    why = fleet.ebb("why", source).stdout
    check("return" in why, f"why names who can release it: {why}")

    fleet.run_vm("late", True)
    fleet.wait_running(["late"])
    check(fleet.worker_of("late") != source, "a held worker receives nothing")
    fleet.ebb("return", source)
    check(fleet.get(f"/v1/workers/{source}")["schedulable"], "return puts it back into service")

    fleet.ebb("migrate", "db-1", "--to", source)
    wait_until(lambda: fleet.worker_of("db-1") == source and fleet.vm("db-1")["seen"] == "running", 60, "db-1 is back")
    fleet.watch.wait_for_more("db-1")

    # Cancel: what has not passed its point of no return comes back, and the worker takes work again.
    drain = json.loads(fleet.ebb("drain", source, "--detach", "--json").stdout)["drain"]["id"]
    fleet.ebb("cancel", drain)
    fleet.wait_drain(drain)
    wait_until(lambda: not fleet.vm("db-1").get("migration"), 60, "db-1 has settled")
    fleet.wait_running(NAMES)
    check(fleet.get(f"/v1/workers/{source}")["schedulable"], "cancel releases the hold")
    for name in NAMES:
        fleet.watch.wait_for_more(name)

    expect_failure(fleet.ebb("drain", "nobody", check=False), 4, "nobody")
    for worker in fleet.workers:
        if worker != source:
            fleet.ebb("cordon", worker, "--reason", "no room")
    expect_failure(fleet.ebb("drain", source, "--plan", check=False), 3, "no room")
    records_are_whole(fleet, [*DISKS, "api-1"])
