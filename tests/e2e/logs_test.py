"""ebb logs -f and ebb console through a drain, a killed control plane and a killed agent: each line once and in order, and what happened is said.
Nothing an operator does there holds up a guest or a move."""

import json
import os
import pty
import subprocess
import tempfile
import termios
import threading
import time

from e2e import Fleet, arguments, check, expect_failure, records_are_whole, wait_until

args = arguments()


class Following:
    """A command that goes on, and what it has said so far."""

    def __init__(self, fleet, *words):
        self.out, self.err = (tempfile.NamedTemporaryFile("w+", errors="replace") for _ in range(2))
        self.process = subprocess.Popen([str(fleet.bin / "ebb"), *words], env=fleet.environment(), stdin=subprocess.DEVNULL,
                                        stdout=self.out, stderr=self.err)

    def said(self):
        return open(self.out.name, errors="replace").read().replace("\r", "")

    def news(self):
        return open(self.err.name).read()

    def wait_for(self, text, limit_s=60):
        wait_until(lambda: text in self.said(), limit_s, f"'{text}' is shown; so far: {self.said()!r} {self.news()!r}")

    def wait_for_news(self, text, limit_s=60):
        wait_until(lambda: text in self.news(), limit_s, f"'{text}' is said; so far: {self.news()!r}")

    def stop(self):
        self.process.send_signal(2)
        check(self.process.wait(10) == 130, f"Ctrl-C ended it with {self.process.returncode}")


class Console:
    """ebb console on a terminal of its own."""

    def __init__(self, fleet, name):
        self.ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen([str(fleet.bin / "ebb"), "console", name], env=fleet.environment() | {"TERM": "vt100"}, stdin=theirs,
                                        stdout=theirs, stderr=theirs, start_new_session=True)
        self.theirs, self.seen = theirs, b""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                self.seen += os.read(self.ours, 65536)
            except OSError:
                return

    def type(self, text):
        os.write(self.ours, text.encode())

    def wait_for(self, text, limit_s=60):
        wait_until(lambda: text.encode() in self.seen, limit_s, f"'{text}' is on the terminal; there is {self.seen[-2000:]!r}")

    def leave(self):
        self.type("\x1d")
        check(self.process.wait(10) == 0, f"Ctrl-] ended it with {self.process.returncode}")
        check(termios.tcgetattr(self.theirs)[3] == self.before[3], "the terminal is as it was")


with Fleet(args.bin, args.guest, workers=2, memory="700MiB") as fleet:
    fleet.start()
    fleet.import_guest()
    fleet.run_vm("web", False, "--port", "http=80")
    fleet.wait_running(["web"], 120)
    fleet.watch.wait_for_more("web")
    expect_failure(fleet.ebb("logs", "nobody", check=False), 4, "nobody")
    expect_failure(fleet.ebb("console", "nobody", check=False), 4, "nobody")
    home = fleet.worker_of("web")
    check("init: boot 1 serves" in fleet.ebb("logs", "web").stdout, "what was said is there")
    check(fleet.ebb("logs", "web", "-n", "1").stdout.count("\n") == 1, "one line")

    logs = Following(fleet, "logs", "web", "-f")
    logs.wait_for("init: boot 1 serves")
    console = Console(fleet, "web")
    console.wait_for("Ctrl-] leaves it")
    console.type("hello\r")
    console.wait_for("init: read 'hello'")
    logs.wait_for("init: read 'hello'")

    # The control plane dies, and then the agent: whoever watches is told, and misses nothing.
    fleet.control.kill()
    logs.wait_for_news("the control plane at")
    fleet.start_control()
    logs.wait_for_news("connected again", 90)
    wait_until(lambda: console.seen.count(b"connected again") == 1, 90, "the console is connected again")
    console.type("after the control plane\r")
    logs.wait_for("init: read 'after the control plane'")
    fleet.workers[home].agent.restart()
    console.type("after the agent\r")
    wait_until(lambda: fleet.get(f"/v1/workers/{home}")["liveness"] == "ready", 60, "the agent is back")
    time.sleep(6)  # a session begins again within that
    console.type("after the agent\r")
    logs.wait_for("init: read 'after the agent'")

    # A drain, with an operator who has stopped reading: nothing waits for him.
    stuck = Following(fleet, "logs", "web", "-f")
    stuck.process.send_signal(19)
    done = fleet.ebb("drain", home, "--reason", "test")
    check(fleet.get("/v1/drains")["items"][0]["status"] == "done", done.stdout)
    there = fleet.worker_of("web")
    stuck.process.send_signal(9)
    stuck.process.wait()
    logs.wait_for("init: boot 2 serves")
    logs.wait_for_news(f"web has left {home}: drain-")
    logs.wait_for_news(f"web runs on {there} now")
    console.wait_for(f"web runs on {there} now")
    console.type("moved\r")
    console.wait_for("init: read 'moved'")
    logs.wait_for("init: read 'moved'")
    order = ["init: boot 1 serves", "init: read 'hello'", "init: read 'after the control plane'", "init: read 'after the agent'", "init: stops",
             "init: boot 2 serves", "init: read 'moved'"]
    places = [logs.said().find(line) for line in order]
    check(places == sorted(places) and -1 not in places, f"in order: {places} in {logs.said()!r}")
    check(all(logs.said().count(line) == 1 for line in order if "agent" not in line), f"each once: {logs.said()!r}")
    console.leave()

    # Its port is reached from here, wherever it runs.
    forwarded = Following(fleet, "port-forward", "web", "http")
    wait_until(lambda: "->" in forwarded.said(), 20, "the port is listened for")
    url = f"http://{forwarded.said().split()[0]}/"

    def ask():
        done = subprocess.run(["curl", "-sS", "-m", "30", url], capture_output=True, text=True)
        return json.loads(done.stdout)["boot"] if done.returncode == 0 else done.stderr

    check(ask() == 2, f"it answers: {ask()}")
    fleet.ebb("return", home)
    fleet.ebb("migrate", "web", "--to", home, "--wait")
    wait_until(lambda: ask() == 3, 60, f"and after a move: {ask()}")
    forwarded.stop()
    expect_failure(fleet.ebb("port-forward", "web", "ssh", check=False), 4, "web has no port 'ssh'")
    logs.wait_for("init: boot 3 serves")
    there = home

    # A guest that is started again under its policy goes on in the same log; one that has stopped ends the command.
    pids = fleet.workers[there].machine_pids()
    check(len(pids) == 1, pids)
    os.kill(pids[0], 9)
    logs.wait_for("[ebb: started again, ", 90)
    logs.wait_for("init: boot 4 serves", 90)
    as_json = [json.loads(line) for line in fleet.ebb("logs", "web", "--json").stdout.splitlines()]
    check(as_json and all("output" in event for event in as_json), as_json)
    records_are_whole(fleet, ["web"])
    check(logs.process.wait(30) == 0, f"a VM that is stopped ends its logs: {logs.news()!r}")
    logs.wait_for_news("web is stopped")
    check(logs.said().count("init: stops") == 3, logs.said())
    check("init: stops" in fleet.ebb("logs", "web", "-n", "5").stdout, "what it said last is still there")
    expect_failure(fleet.ebb("console", "web", check=False), 6, "web does not run", "ebb start web")
print("logs and console followed a VM through a killed control plane, a restarted agent, a drain and a crash", flush=True)
