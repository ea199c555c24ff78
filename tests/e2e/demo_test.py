"""The demo as a newcomer runs it: to its end in a pipe; on a terminal, kept, and ended by the command it names; interrupted by Ctrl-C,
and by its terminal being closed. Whatever happens, nothing is left behind."""

import fcntl
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading

from e2e import arguments, check, end_fleet, wait_until

args = arguments()
DEMO = pathlib.Path(__file__).resolve().parents[2] / "demo" / "demo.py"
SIX = {"db-1", "db-2", "db-3", "db-4", "web-1", "web-2"}
FIRST_PHASE = re.compile(r"\+\d+\.\d+s +\S+  (reserving|preparing)  ")


def below(folder):
    """Processes that run in `folder` or were started on it."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            uses = os.readlink(entry / "cwd").startswith(folder) or folder.encode() in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if uses:
            found.append(int(entry.name))
    return found


class Demo:
    """A run in a session of its own, so that a signal to its group is what Ctrl-C is on a terminal. `terminal`: it has one."""

    def __init__(self, folder, *words, terminal=False):
        self.text, self.folder = "", folder
        env = dict(os.environ, TMPDIR=str(folder), TERM="xterm")
        if terminal:
            self.end_of_ours, theirs = os.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
            streams = dict(stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        else:
            self.end_of_ours, theirs = os.pipe()
            streams = dict(stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
        words = [sys.executable, DEMO, "--bin", args.bin, "--guest", args.guest, *words]
        self.process = subprocess.Popen(words, start_new_session=True, env=env, **streams)
        os.close(theirs)
        self.hung_up = threading.Event()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        try:
            while not self.hung_up.is_set() and (data := os.read(self.end_of_ours, 4096)):
                self.text += data.decode(errors="replace")
        except OSError:  # how the end of a terminal reads
            pass
        os.close(self.end_of_ours)

    def wait_for(self, words, limit_s=240):
        wait_until(lambda: words in self.text or self.process.poll() is not None, limit_s, f"the demo says '{words}'")
        check(words in self.text, f"the demo ended without '{words}':\n{self.text}")

    def press_ctrl_c(self):
        os.killpg(self.process.pid, signal.SIGINT)

    def close_terminal(self):
        self.hung_up.set()  # the reader closes it after the next words

    def end(self, code, limit_s=240):
        self.process.wait(limit_s)
        self.reader.join(10)
        check(self.process.returncode == code, f"exit code {self.process.returncode}, wanted {code}:\n{self.text}")


def run(code, *words, terminal=False, then=lambda demo: None, afterwards=lambda demo: None):
    """Runs the demo to its end and returns what it said; `then` may press keys once it has begun."""
    with tempfile.TemporaryDirectory(prefix="ebb-demo-") as folder:
        os.chmod(folder, 0o711)  # VMs run as another user and must get through
        demo = Demo(folder, *words, terminal=terminal)
        try:
            then(demo)
            demo.end(code)
            afterwards(demo)
        finally:
            if demo.process.poll() is None:
                demo.process.terminate()
                demo.process.wait(60)
            files, processes = os.listdir(folder), below(folder)
            for left in files:  # whatever this test finds, it leaves nothing itself
                end_fleet(pathlib.Path(folder, left))
        check(not files, f"files are left: {files}")
        check(not processes, f"processes are left: {processes}")
        return demo.text


def talk_to_the_kept_fleet(demo):
    exports = re.search(r"export (\S+) (\S+)\s+(\S+/ebb vms)", demo.text)
    check(exports, f"it says how to talk to the fleet:\n{demo.text}")
    done = subprocess.run(f"{exports[1]} {exports[2]} {exports[3]}", shell=True, capture_output=True, text=True, timeout=60)
    check(done.returncode == 0 and done.stdout.count("running") == 6, f"the command it names shows six VMs: {done}")
    stop = re.search(r"To end it.*: (\S+) --stop (\S+)", demo.text)
    check(stop, f"it says how to end the fleet:\n{demo.text}")
    check(os.access(stop[1], os.X_OK) and stop[2].startswith(demo.folder), f"{stop[0]}")
    wrong = subprocess.run([stop[1], "--stop", demo.folder], capture_output=True, text=True, timeout=60)
    check(wrong.returncode == 2 and "not the folder" in wrong.stderr, f"{wrong}")
    done = subprocess.run([stop[1], "--stop", stop[2]], capture_output=True, text=True, timeout=60)
    check(done.returncode == 0, f"{done}")


def drew_a_live_view(text):
    planned = int(re.search(r"plan: (\d+) VMs?", text)[1])
    with_bar = set(re.findall(r"^  (\S+)  .*\[[#-]+\]", text, re.MULTILINE))
    check(len(with_bar) == planned > 0 and with_bar <= SIX, f"a bar for each of {planned} VMs, not for {with_bar}:\n{text!r}")
    check(re.search(r"\x1b\[\d+A\r", text), f"it is drawn again in place:\n{text!r}")
    check(re.search(r"of \d+ moved  ETA ", text), f"it has an ETA:\n{text!r}")
    check(re.search(r"\[#+\] 100%", text), f"it has a total that gets to its end:\n{text!r}")


def told_all_in_lines(text):
    check("\x1b" not in text, f"no escapes in a pipe:\n{text!r}")
    plan, phase = re.search(r"plan: (\d+) VMs? from worker-\d, about ", text), FIRST_PHASE.search(text)
    check(plan and phase and plan.start() < phase.start(), f"the plan comes before the first move:\n{text}")
    table = text[plan.start():phase.start()]
    check("MECHANISM" in table and "TARGET" in table and table.count("~") >= 2 * int(plan[1]), f"the plan names each move:\n{table}")
    moved = re.findall(r"^  (\S+) +(pointer|restart) +(\S+ ms|-) +(\d+|stateless) +(\d+|-)$", text, re.MULTILINE)
    check(len(moved) == int(plan[1]), f"the summary has each of the VMs that moved: {moved}\n{text}")
    check(all(re.fullmatch(r"\d+ ms", row[2]) for row in moved), f"each was interrupted for a while: {moved}")
    for says in (" 0 lost", "of worker-1 done"):
        check(says in text, f"'{says}' is not in:\n{text}")
    memory = re.search(r"memory: ebbd (\d+) MB, ebb-agent (\d+) MB", text)
    check(memory and int(memory[1]) < 100, f"ebbd takes less than 100 MB:\n{text}")


told_all_in_lines(run(0))
print("ok: in a pipe", flush=True)
drew_a_live_view(run(0, "--keep", terminal=True, afterwards=talk_to_the_kept_fleet))
print("ok: on a terminal, and kept", flush=True)
run(130, then=lambda demo: (demo.wait_for("$ ebb drain"), demo.press_ctrl_c()))
print("ok: Ctrl-C in the drain", flush=True)
run(130, then=lambda demo: (demo.wait_for("ebb images import"), demo.press_ctrl_c()))
print("ok: Ctrl-C at the start", flush=True)
run(128 + signal.SIGHUP, terminal=True, then=lambda demo: (demo.wait_for("$ ebb drain"), demo.close_terminal()))
print("ok: a closed terminal", flush=True)
