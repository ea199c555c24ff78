"""Programs run in a guest by its QEMU guest agent, and what health checks tell: a VM is starting until it is healthy, also where it is moved to,
and what turns unhealthy is shown and explained, and does not hold up a drain for ever."""

import base64
import json
import subprocess

from e2e import Fleet, arguments, check, expect_failure, no_guest_saw_an_error, records_are_whole, wait_until

args = arguments()


def run(fleet, *words, code=0, stdin=None):
    done = subprocess.run([str(fleet.bin / "ebb"), "exec", *words], env=fleet.environment(), input=stdin, capture_output=True, timeout=120)
    check(done.returncode == code, f"exec {words} ended with {done.returncode}: {done.stdout!r} {done.stderr!r}")
    return done


def shell(fleet, name, script, **more):
    return run(fleet, name, "--", "/bin/sh", "-c", script, **more)


def state(fleet, name):
    view = fleet.vm(name)
    return view["seen"], view.get("health")


def is_healthy(fleet, name):
    health = state(fleet, name)[1]
    return health is not None and health["is_healthy"]


with Fleet(args.bin, args.guest, workers=2, memory="700MiB") as fleet:
    fleet.start()
    fleet.import_guest("agent", "initrd-agent.cpio")
    fleet.ebb("run", "web", "--image", "agent", "--memory", "128M", "--port", "http=80", "--health", "http:http/ready", "--wait")
    check(is_healthy(fleet, "web"), "it is healthy when --wait has ended")
    fleet.watch.wait_for_more("web")

    # What a program prints, how it ends, and what it reads.
    done = shell(fleet, "web", "echo out; echo oh >&2; exit 3", code=3)
    check((done.stdout, done.stderr) == (b"out\n", b"oh\n"), done)
    check(run(fleet, "web", "--", "/bin/busybox", "echo", "a b", "--c").stdout == b"a b --c\n", "no shell reads the words")
    check(run(fleet, "-i", "web", "--", "/bin/busybox", "sha256sum", stdin=b"x" * 90_000).stdout.split()[0] ==
          subprocess.run(["sha256sum"], input=b"x" * 90_000, capture_output=True, check=True).stdout.split()[0], "its input arrives whole")
    much = shell(fleet, "web", "/bin/busybox seq 1 400000").stdout
    check(much == b"".join(b"%d\n" % i for i in range(1, 400_001)), f"{len(much)} bytes of output")
    told = json.loads(run(fleet, "--json", "web", "--", "/bin/busybox", "printf", "\\377").stdout)
    check(base64.b64decode(told["output"]) == b"\xff" and told["status"] == 0, told)
    shell(fleet, "web", "kill -9 $$", code=137)
    shell(fleet, "web", "/bin/busybox sleep 25")  # longer than any silence that a session bears
    check(b"No such file" in run(fleet, "web", "--", "/no/such", code=125).stderr, "what cannot be started is said")
    check(b"nobody" in run(fleet, "nobody", "--", "/bin/true", code=125).stderr, "and who is not there")
    two = [subprocess.Popen([str(fleet.bin / "ebb"), "exec", "web", "--", "/bin/busybox", "sleep", "2"], env=fleet.environment()) for _ in range(2)]
    check([one.wait(60) for one in two] == [0, 0], "two at once")

    # A move: the drain waits until it is healthy there, and a program that ran is told of as lost.
    home = fleet.worker_of("web")
    running = subprocess.Popen([str(fleet.bin / "ebb"), "exec", "web", "--", "/bin/busybox", "sleep", "600"], env=fleet.environment(),
                               stderr=subprocess.PIPE)
    wait_until(lambda: b"sleep 600" in shell(fleet, "web", "/bin/busybox ps").stdout, 30, "the program runs")
    fleet.ebb("drain", home, "--reason", "test")
    check(is_healthy(fleet, "web"), "done means healthy")
    check(running.wait(60) == 125 and running.stderr.read(), "who waited for the program is told")
    there = fleet.worker_of("web")
    check(there != home, "it has moved")
    check(shell(fleet, "web", "echo here").stdout == b"here\n", "and is reached there")
    fleet.ebb("return", home)

    # Checks are changed while it runs. The guest agent dies: that is seen, explained, and no end of the VM.
    fleet.ebb("vms", "edit", "web", "--health", "guest-agent")
    fleet.api("POST", "/v1/vms/web:edit", {"health": {"kind": "guest_agent", "interval_ms": 1000, "timeout_ms": 1000, "failures_max": 2}})
    wait_until(lambda: fleet.vm("web")["vm"]["spec"]["health"]["kind"] == "guest_agent" and is_healthy(fleet, "web"), 30, "its agent answers")
    shell(fleet, "web", "(/bin/busybox sleep 1; /bin/busybox killall qemu-ga) >/dev/null 2>&1 &")
    wait_until(lambda: state(fleet, "web")[1] is not None and not is_healthy(fleet, "web"), 90, "it is unhealthy")
    check(state(fleet, "web")[0] == "running", "and runs")
    check("unhealthy" in fleet.ebb("vms").stdout, "the list says so")
    why = fleet.ebb("why", "web").stdout
    check("no guest agent answers" in why and "operator: look into the guest" in why, why)
    check(b"no guest agent answers" in run(fleet, "web", "--", "/bin/true", code=125).stderr, "nobody runs programs there any more")

    # Asked to stop by its guest agent, where one answers, and else in the automatic way. However quickly it is off, that is no end of its
    # own: one that is never started again moves all the same, if the drain does not wait for its end. What it said last is kept.
    fleet.ebb("run", "soft", "--image", "agent", "--memory", "128M", "--health", "guest-agent", "--stop-signal", "guest-agent", "--restart", "never",
              "--tenant", "acme", "--wait")
    listed = fleet.ebb("vm", "ls", "--tenant", "acme").stdout
    check("soft" in listed and "web" not in listed, f"its tenant's: {listed}")
    expect_failure(fleet.ebb("vm", "show", "soft", "--tenant", "acme", check=False), 2, "no such option")
    heeds = "mkdir -p /sbin; printf '#!/bin/sh\\necho shutdown \"$@\" >/dev/console\\necho u >/proc/sysrq-trigger\\n/bin/busybox sleep 0.2\\n/bin/busybox poweroff -f\\n' >/sbin/shutdown; chmod +x /sbin/shutdown"
    shell(fleet, "soft", heeds)
    home = fleet.worker_of("soft")
    fleet.ebb("drain", home, "--reason", "test", "--no-finish")
    check(fleet.worker_of("soft") != home and is_healthy(fleet, "soft"), fleet.vm("soft"))
    check(any(b"shutdown -h -P +0" in log.read_bytes() for log in (fleet.root / home / "agent" / "logs").glob("soft.*/*")), "the agent was asked")
    fleet.ebb("return", home)
    shell(fleet, "soft", heeds)
    fleet.ebb("stop", "soft", "--wait")
    check("shutdown -h -P +0" in fleet.ebb("logs", "soft").stdout, fleet.ebb("logs", "soft").stdout[-600:])
    fleet.ebb("start", "soft", "--wait")
    shell(fleet, "soft", "(/bin/busybox sleep 1; /bin/busybox killall qemu-ga) >/dev/null 2>&1 &")
    wait_until(lambda: state(fleet, "soft")[1] is not None and not is_healthy(fleet, "soft"), 90, "its agent is gone")
    fleet.ebb("stop", "soft", "--wait")
    check("in the automatic way" in fleet.workers[fleet.vm("soft")["vm"]["stopped_on"]].agent.log.read_text(), "what was done is told")
    fleet.ebb("rm", "soft", "--wait")

    # One that is never healthy is starting for its grace, and then runs; a drain does not wait for ever.
    fleet.ebb("vms", "edit", "web", "--health", "none")
    (fleet.root / "ill.toml").write_text('image = "agent"\nmemory = "128MiB"\n[ports]\nnone = 81\n[health]\nkind = "tcp"\nport = "none"\n'
                                         'interval = "2s"\nstart_grace = "8s"\n')
    fleet.ebb("run", "ill", "-f", fleet.root / "ill.toml")
    wait_until(lambda: (state(fleet, "ill")[1] or {}).get("is_healthy") is False, 90, "the check fails")
    check(state(fleet, "ill")[0] == "starting", state(fleet, "ill"))
    check("its health check fails: the connection is closed at once" in fleet.ebb("why", "ill").stdout, fleet.ebb("why", "ill").stdout)
    wait_until(lambda: state(fleet, "ill")[0] == "running", 60, "after its grace it counts as running")
    home = fleet.worker_of("ill")
    fleet.ebb("drain", home, "--reason", "test")
    check(fleet.get("/v1/drains")["items"][-1]["status"] == "done", "the drain is done")
    expect_failure(fleet.ebb("vms", "edit", "ill", "--health", "tcp:ssh", check=False), 2, "no port 'ssh'")
    expect_failure(fleet.ebb("vms", "edit", "ill", "--health", "ping", check=False), 2, "tcp, http or guest-agent")
    records_are_whole(fleet, ["web", "ill"])
    no_guest_saw_an_error(fleet, ["web", "ill"])
print("programs ran in a guest before and after a move, and health was told as it was", flush=True)
