"""The demo as a newcomer runs it: to its end, kept and ended by Ctrl-C, and interrupted in the middle of the drain. Whatever
happens, nothing is left behind."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading

from e2e import arguments, check, wait_until

args = arguments()
DEMO = pathlib.Path(__file__).resolve().parents[2] / "demo" / "demo.py"


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
    """A run in a session of its own, so that a signal to its group is what Ctrl-C is on a terminal."""

    def __init__(self, folder, *words):
        self.text = ""
        env = dict(os.environ, TMPDIR=str(folder))
        words = [sys.executable, DEMO, "--bin", args.bin, "--guest", args.guest, *words]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=env)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.text += line

    def wait_for(self, words, limit_s=180):
        wait_until(lambda: words in self.text or self.process.poll() is not None, limit_s, f"the demo says '{words}'")
        check(words in self.text, f"the demo ended without '{words}':\n{self.text}")

    def press_ctrl_c(self):
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, code, limit_s=120):
        self.process.wait(limit_s)
        self.reader.join(10)
        check(self.process.returncode == code, f"exit code {self.process.returncode}, wanted {code}:\n{self.text}")


def run(code, *words, then=lambda demo: None):
    """Runs the demo to its end and returns what it said; `then` may press keys once it has begun."""
    with tempfile.TemporaryDirectory(prefix="ebb-demo-") as folder:
        os.chmod(folder, 0o711)  # VMs run as another user and must get through
        demo = Demo(folder, *words)
        try:
            then(demo)
            demo.end(code)
        finally:
            if demo.process.poll() is None:
                demo.process.terminate()
                demo.process.wait(60)
        check(not os.listdir(folder), f"files are left: {os.listdir(folder)}")
        check(not below(folder), f"processes are left: {below(folder)}")
        return demo.text


def talk_to_the_kept_fleet(demo):
    demo.wait_for("press Ctrl-C")
    exports = re.search(r"export (\S+) (\S+)\n\s+(\S+/ebb vms)", demo.text)
    check(exports, f"it says how to talk to the fleet:\n{demo.text}")
    done = subprocess.run(f"{exports[1]} {exports[2]} {exports[3]}", shell=True, capture_output=True, text=True, timeout=30)
    check(done.returncode == 0 and done.stdout.count("running") == 6, f"the command it names shows six VMs: {done}")
    demo.press_ctrl_c()


def interrupt_in_the_drain(demo):
    demo.wait_for("$ ebb drain")
    demo.press_ctrl_c()


whole = run(0)
for says in ("six VMs", " 0 lost", "MECHANISM", "INTERRUPTION", "of worker-1 done"):
    check(says in whole, f"'{says}' is not in:\n{whole}")
run(130, "--keep", then=talk_to_the_kept_fleet)
run(130, then=interrupt_in_the_drain)
run(130, then=lambda demo: (demo.wait_for("ebb images import"), demo.press_ctrl_c()))
print("ok")
