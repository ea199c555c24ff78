"""Guests that end by themselves: restarted or not as their policy says, also while their worker is drained; and one that never comes up, which
keeps no drain waiting and says why."""

import json
import pathlib
import urllib.request

from e2e import Fleet, arguments, check, consoles, ran_in_one_place_at_a_time, wait_until

args = arguments()


def ask_guest(fleet, name, path):
    return json.load(urllib.request.urlopen(f"http://127.0.0.1:{fleet.vm(name)['ports']['http']}{path}", timeout=30))


def end_guest(fleet, name, status):
    ask_guest(fleet, name, f"/exit/{status}")


def boots(fleet, name):
    try:
        return ask_guest(fleet, name, "/")["boot"]
    except (OSError, KeyError):
        return 0  # it is not up


def ended(fleet, name):
    return fleet.vm(name)["vm"].get("ended")


with Fleet(args.bin, args.guest, workers=2, memory="1400MiB") as fleet:
    fleet.start()
    fleet.import_guest()
    policies = {"job": "never", "retry": "on-failure", "service": "always"}
    spec = fleet.root / "job.toml"
    spec.write_text('name = "job"\nimage = "witness"\nmemory = "128MiB"\nrestart = "never"\n[ports]\nhttp = 80\n')
    fleet.ebb("run", "-f", spec)
    for name in ("retry", "service"):
        fleet.run_vm(name, False, "--restart", policies[name], "--port", "http=80")
    fleet.wait_running(policies, 120)
    for name in policies:
        fleet.watch.wait_for_more(name)

    end_guest(fleet, "retry", 3)
    end_guest(fleet, "service", 0)
    wait_until(lambda: all(boots(fleet, name) == 2 for name in ("retry", "service")), 120, "both are started again")
    fleet.ebb("restart", "service", "--wait")
    wait_until(lambda: boots(fleet, "service") == 3, 60, "restarted by hand")
    end_guest(fleet, "retry", 0)
    home = fleet.worker_of("job")
    end_guest(fleet, "job", 7)
    wait_until(lambda: all(ended(fleet, name) for name in ("job", "retry")), 60, "both have ended")
    check(ended(fleet, "job")["end"]["status"] == 7, ended(fleet, "job"))
    why = fleet.ebb("why", "job").stdout
    check("ended by itself on " + home in why and "status 7" in why, why)
    check("ended badly" in fleet.ebb("vms").stdout, "the list says so")

    wait_until(lambda: not fleet.vm("job")["vm"].get("worker"), 60, "its worker has let go of it")
    fleet.ebb("start", "job", "--wait")
    fleet.watch.wait_for_more("job")
    check(boots(fleet, "job") == 2, "started again by hand")
    home = fleet.worker_of("job")
    end_guest(fleet, "job", 0)
    fleet.ebb("drain", home, "--reason", "test")
    wait_until(lambda: ended(fleet, "job") and not fleet.vm("job")["vm"].get("worker"), 60, "the job is over")
    fleet.ebb("return", home)

    (fleet.root / "broken").write_text("no init is here\n")
    fleet.ebb("images", "import", "broken", "--kernel", pathlib.Path(args.guest) / "vmlinux", "--cmdline", "console=ttyS0 panic=-1 reboot=t")
    fleet.ebb("run", "loop", "--image", "broken", "--stateless", "--memory", "128M")
    other = next(name for name in fleet.workers if name != wait_until(lambda: fleet.worker_of("loop"), 30, "it is placed"))
    fleet.ebb("cordon", other, "--reason", "so that the loop stays where it is")
    wait_until(lambda: len(list(fleet.root.glob("*/agent/logs/loop.*"))) >= 3, 120, "it has ended three times")
    fleet.ebb("uncordon", other)
    where = wait_until(lambda: "Kernel panic" in fleet.ebb("why", "loop").stdout and fleet.worker_of("loop"), 120, "why shows the console")
    fleet.ebb("drain", where, "--reason", "test")
    check(fleet.ebb("drains").stdout.count("done") >= 2, "the drain is done")
    fleet.ebb("rm", "loop")

    ran_in_one_place_at_a_time(fleet, policies)
    fleet.stop_vms(["service"])
    for name in policies:
        verdict = fleet.check_records(name)
        check(verdict["lost"] == 0 and verdict["bad"] == 0 and verdict["records"] > 0, f"{name}: {verdict}")
    check(consoles(fleet), "there are consoles")
