"""A whole cell on this machine, with real programs and real VMs: for the demo, the tests and the benchmarks.

Everything lives below one folder and is ended by process id. Programs are started in sessions of their own, so that Ctrl-C
on the terminal reaches only whoever drives them."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

REPO = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class CommandFailed(Exception):
    def __init__(self, words, code, out, err):
        super().__init__(f"{' '.join(map(str, words))} ended with {code}:\n{err.strip() or out.strip()}")
        self.code, self.out, self.err = code, out, err


def wait_until(condition, limit_s, what):
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.02)


def qemu_processes():
    """(pid, folder it runs in) of every QEMU of this machine."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            folder = pathlib.Path(os.readlink(entry / "cwd"))
            program = (entry / "cmdline").read_bytes().split(b"\0")[0]
        except OSError:
            continue
        if b"qemu" in program:
            found.append((int(entry.name), folder))
    return found


def programs_of(root):
    """(pid, name) of every daemon whose configuration lies below `root`."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if len(words) > 2 and words[1] == "--config" and pathlib.Path(words[2]).is_relative_to(root):
            found.append((int(entry.name), pathlib.Path(words[0]).name))
    return found


def end_fleet(root):
    """Ends a fleet that was left running, whoever started it, and removes its folder. Agents go first: they would start machines anew."""
    def machines():
        return [pid for pid, folder in qemu_processes() if folder.is_relative_to(root)]

    def end(find):
        wait_until(lambda: not [kill_quietly(pid) for pid in find()], 30, f"nothing runs on {root}")

    end(lambda: [pid for pid, name in programs_of(root) if name == "ebb-agent"])
    end(machines)
    end(lambda: [pid for pid, _ in programs_of(root)])
    shutil.rmtree(root)


def kill_quietly(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Program:
    """One of our daemons; may be killed and started again on the same state."""

    def __init__(self, words, log):
        self.words, self.log, self.process = list(map(str, words)), log, None

    def start(self):
        out = open(self.log, "ab")
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        return self

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.is_running():
            os.kill(self.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def stop(self, limit_s=10):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self):
        self.kill()
        return self.start()

    def memory_mib(self):
        return self.memory_mb() * 1e6 / 2**20

    def memory_mb(self):
        """Resident, in millions of bytes."""
        for line in open(f"/proc/{self.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError(f"{self.words[0]} does not run")


class Worker:
    def __init__(self, fleet, name, memory):
        self.name, self.root = name, fleet.root / name
        self.run = self.root / "run"
        self.machines = self.root / "agent" / "machines"
        for folder in (self.root, self.run):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)
        diskd_socket = f"unix:{self.run}/diskd.sock"
        (self.root / "diskd.toml").write_text(
            f'worker = "{name}"\nstate_dir = "{self.root}/diskd"\nrun_dir = "{self.run}"\nlisten = "{diskd_socket}"\n'
            f'log_level = "{fleet.log_level}"\ncache_memory = "8MiB"\ncache_disk = "64MiB"\n[pools.main]\nurl = "{fleet.pool}"\n')
        (self.root / "agent.toml").write_text(
            f'worker = "{name}"\ncontrol = "127.0.0.1:{fleet.port}"\njoin_token_file = "{fleet.root}/control/join.token"\n'
            f'state_dir = "{self.root}/agent"\ndiskd = "{diskd_socket}"\nlog_level = "{fleet.log_level}"\n'
            f'[capacity]\ncpu = 8\nmemory = "{memory}"\n[labels]\nzone = "{name[-1]}"\n[pools.main]\nurl = "{fleet.pool}"\n')
        self.diskd = Program([fleet.bin / "ebb-diskd", "--config", self.root / "diskd.toml"], self.root / "diskd.log")
        self.agent = Program([fleet.bin / "ebb-agent", "--config", self.root / "agent.toml"], self.root / "agent.log")

    def start(self):
        self.diskd.start()
        self.agent.start()
        return self

    def disk_metric(self, name):
        """Of its disk daemon's /metrics, summed over what the name stands for."""
        address = (self.root / "diskd.toml").read_text().split('listen = "unix:')[1].split('"')[0]
        text = subprocess.run(["curl", "-sS", "-m", "10", "--unix-socket", address, "http://diskd/metrics"], check=True, capture_output=True, text=True).stdout
        return sum(float(line.split()[-1]) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))

    def machine_pids(self):
        """Processes of QEMU that this worker's agent started and that still run."""
        return [pid for pid, _ in self.machines_running()]

    def machines_running(self):
        """(pid, VM) of each: a machine runs in its own folder."""
        return [(pid, folder.name) for pid, folder in qemu_processes() if folder.parent == self.machines]


class Fleet:
    def __init__(self, bin_dir, guest_dir, workers=3, memory="1100MiB", root=None, log_level="info", pool=None, disk_retention="0s"):
        self.bin, self.guest = pathlib.Path(bin_dir).resolve(), pathlib.Path(guest_dir).resolve()
        self.root = pathlib.Path(root or tempfile.mkdtemp(prefix="ebb-fleet-"))
        self.root.mkdir(exist_ok=True)
        self.root.chmod(0o711)  # VMs run as another user and must get through
        self.pool = pool or f"dir:{self.root}/pool"
        self.log_level, self.port = log_level, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.token_file = self.root / "control" / "operator.token"
        (self.root / "ebbd.toml").write_text(
            f'state_dir = "{self.root}/control"\nlisten = "{self.address}"\nlog_level = "{log_level}"\ndisk_retention = "{disk_retention}"\n'
            f'[pools.main]\nurl = "{self.pool}"\ndefault_class = "remote"\n')
        self.control = Program([self.bin / "ebbd", "--config", self.root / "ebbd.toml"], self.root / "ebbd.log")
        self.workers = {f"worker-{i}": Worker(self, f"worker-{i}", memory) for i in range(1, workers + 1)}
        self.watch = Watch(self)

    def use_pool(self, url):
        """Before start(): the pool by another URL, in the configuration of every daemon."""
        for config in self.root.glob("**/*.toml"):
            config.write_text(config.read_text().replace(f'url = "{self.pool}"', f'url = "{url}"'))
        self.pool = url

    # ---- life ----
    def start(self):
        self.start_control()
        for worker in self.workers.values():
            worker.start()
        wait_until(lambda: sum(w["liveness"] == "ready" for w in self.items("workers")) == len(self.workers), 30, "workers are ready")
        self.watch.start()
        return self

    def start_control(self):
        self.control.start()
        wait_until(self.is_ready, 20, "the control plane is ready")

    def is_ready(self):
        if not self.control.is_running():
            raise RuntimeError(f"ebbd ended: {(self.root / 'ebbd.log').read_text()[-2000:]}")
        return subprocess.run(["curl", "-fsS", "-m", "2", f"http://{self.address}/readyz"], capture_output=True).returncode == 0

    def stop(self, keep_files=False):
        """Ends everything that was started, whatever state it is in. A second Ctrl-C must not leave half of it behind."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        self.watch.stop()
        programs = [p for w in self.workers.values() for p in (w.agent, w.diskd)] + [self.control]
        for program in programs:
            program.signal(signal.SIGCONT)
        for worker in self.workers.values():
            if worker.agent.process:
                worker.agent.kill()
        for worker in self.workers.values():
            for pid in worker.machine_pids():
                kill_quietly(pid)
        for program in programs:
            if program.process:
                program.kill()
        if not keep_files:
            shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None and issubclass(kind, Exception):
            self.print_state()
        keep = kind is not None and os.environ.get("EBB_KEEP_FAILED")
        if keep:
            print(f"kept: {self.root}")
        self.stop(keep_files=bool(keep))

    def print_state(self, lines=25):
        """What somebody needs who has only this test's output: what each operation waits for, and the ends of the logs."""
        try:
            for words in [("workers",), ("vms",), ("drains",), *(("why", d["id"]) for d in self.items("drains")),
                          *(("why", vm["vm"]["id"]) for vm in self.items("vms"))]:
                done = self.ebb(*words, check=False, timeout=20)
                print(f"--- ebb {' '.join(words)}\n{done.stdout}{done.stderr}", end="")
        except Exception as failed:  # the test's own failure is what counts
            print(f"--- the control plane says nothing: {failed}")
        for log in sorted([*self.root.glob("*.log"), *self.root.glob("*/*.log")]):
            print(f"--- {log}", *log.read_text(errors="replace").splitlines()[-lines:], sep="\n", flush=True)

    def machines_running(self):
        """VM -> (worker, pid) of each of its machines, wherever."""
        found, names = {}, {worker.machines: worker.name for worker in self.workers.values()}
        for pid, folder in qemu_processes():
            if folder.parent in names:
                found.setdefault(folder.name, set()).add((names[folder.parent], pid))
        return found

    # ---- talking to it ----
    def environment(self):
        return dict(os.environ, EBB_SERVER=self.address, EBB_TOKEN_FILE=str(self.token_file))

    def ebb(self, *words, check=True, timeout=180):
        done = subprocess.run([str(self.bin / "ebb"), *map(str, words)], env=self.environment(), capture_output=True, text=True,
                              errors="replace", timeout=timeout, stdin=subprocess.DEVNULL)  # a console may stand in the middle of a letter
        if check and done.returncode != 0:
            raise CommandFailed(["ebb", *words], done.returncode, done.stdout, done.stderr)
        return done

    def api(self, method, path, body=None):
        """(status, decoded body), past the CLI."""
        words = ["curl", "-sS", "-m", "60", "-X", method, "-w", "\n%{http_code}", f"http://{self.address}{path}", "-H",
                 f"authorization: Bearer {self.token_file.read_text().strip()}"]
        if body is not None:
            words += ["--data-binary", "@-"]
            body = body if isinstance(body, str) else json.dumps(body)
        out = subprocess.run(words, capture_output=True, text=True, check=True, input=body or "").stdout
        text, _, status = out.rpartition("\n")
        return int(status), json.loads(text) if text.strip().startswith(("{", "[")) else text

    def get(self, path):
        status, body = self.api("GET", path)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status} {body}")
        return body

    def items(self, kind):
        return self.get(f"/v1/{kind}")["items"]

    def events(self):
        """All of the journal, in its order."""
        status, text = self.api("GET", "/v1/events")
        if status != 200:
            raise RuntimeError(f"GET /v1/events: {status} {text}")
        return [json.loads(line[len("data: "):]) for line in text.splitlines() if line.startswith("data: ")]

    def owners(self, vm):
        """The workers that the records gave `vm` to, in order."""
        owners = []
        for event in self.events():
            if event["kind"] == "vm.placed" and event["subject"] == f"vms/{vm}":
                owners.append(event["text"].split()[2])
            # "db-1: moving_lease (worker-1 -> worker-2)"
            if event["kind"] == "migration.phase" and event["text"].startswith(f"{vm}: moving_lease "):
                owners.append(event["text"].rstrip(")").split()[-1])
        return owners

    def vm(self, name):
        return self.get(f"/v1/vms/{name}")

    def worker_of(self, name):
        return self.vm(name)["vm"].get("worker")

    def import_guest(self, name="witness", initrd="initrd.cpio"):
        files = ["--kernel", self.guest / "vmlinux", "--initrd", self.guest / initrd, "--disk", self.guest / "disk.raw"]
        return self.ebb("images", "import", name, *files, "--cmdline", (self.guest / "cmdline").read_text().strip(), "--channel", "witness")

    def run_vm(self, name, stateless=False, *more):
        return self.ebb("run", name, "--image", "witness", "--memory", "128M", *(["--stateless"] if stateless else []), *more)

    def wait_running(self, names, limit_s=90):
        wait_until(lambda: all(self.vm(n)["seen"] == "running" for n in names), limit_s, f"{', '.join(names)} run")

    def wait_drain(self, drain, limit_s=180):
        ended = ("done", "cancelled", "failed")
        return wait_until(lambda: (lambda d: d if d["status"] in ended else None)(self.get(f"/v1/drains/{drain}")), limit_s, f"{drain} ends")

    # ---- the witness's verdict ----
    def stop_vms(self, names, limit_s=90):
        for name in names:
            self.ebb("stop", name)
        wait_until(lambda: all(self.vm(n)["vm"].get("worker") is None for n in names), limit_s, "VMs are stopped")

    def check_records(self, name, at=0):
        """Reads the VM's disk from the pool alone and compares it with every number the guest ever reported as durable. `at`: where on the
        disk the witness's file system begins."""
        disk = self.vm(name)["vm"]["disk"]
        raw = self.root / f"check-{name}.raw"
        subprocess.run([self.bin / "ebb-disk", "cat", "--pool", self.pool, disk, raw], check=True, capture_output=True)
        if at > 0:
            subprocess.run(["dd", f"if={raw}", f"of={raw}.part", "bs=1M", f"skip={at}", "iflag=skip_bytes", "conv=sparse", "status=none"], check=True)
            pathlib.Path(f"{raw}.part").rename(raw)
        done = subprocess.run([self.bin / "witness-check", "--scratch", "--disk", raw, "--reported", self.watch.record_of(name)],
                              capture_output=True, text=True)
        raw.unlink()
        if not done.stdout.strip():
            raise RuntimeError(f"witness-check {name}: {done.stderr}")
        if done.returncode != 0:
            print(f"witness-check {name}: {done.stderr}", flush=True)
        return json.loads(done.stdout)


class Watch:
    """Reads what every guest reports on its witness port, as it comes, whichever worker it runs on; keeps all of it."""

    def __init__(self, fleet):
        self.fleet, self.thread, self.ending = fleet, None, threading.Event()
        self.open, self.seen = {}, {}  # (worker, vm, inode) -> file, half line; vm -> [(time, kind, number, worker)]
        self.lock = threading.Lock()

    def record_of(self, vm):
        return self.fleet.root / f"reported-{vm}.log"

    def start(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def stop(self):
        self.ending.set()
        if self.thread:
            self.thread.join()

    def run(self):
        last_scan = 0.0
        while not self.ending.is_set():
            now = time.monotonic()
            if now - last_scan > 0.02:
                self.scan()
                last_scan = now
            for key in list(self.open):
                self.read(key)
            time.sleep(0.002)

    def scan(self):
        for worker in self.fleet.workers.values():
            for path in worker.machines.glob("*/channel-witness.log"):
                try:
                    file = open(path, "rb", buffering=0)
                    key = (worker.name, path.parent.name, os.fstat(file.fileno()).st_ino)
                except OSError:
                    continue
                if key in self.open:
                    file.close()
                else:
                    self.open[key] = [file, b""]

    def read(self, key):
        worker, vm, _ = key
        entry = self.open[key]
        file = entry[0]
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)  # rotated
        data = file.read(1 << 16)
        now = time.monotonic()
        if not data:
            if os.fstat(file.fileno()).st_nlink == 0:
                file.close()
                del self.open[key]
            return
        *lines, entry[1] = (entry[1] + data).split(b"\n")
        with self.lock, open(self.record_of(vm), "ab") as record:
            for line in lines:
                record.write(line + b"\n")
                words = line.split()
                if len(words) >= 2 and words[0] in (b"D", b"S", b"B") and words[1].isdigit() and words[-1].isdigit():
                    self.seen.setdefault(vm, []).append((now, words[0].decode(), int(words[1]), worker))
                if words and words[0] == b"BAD":
                    self.seen.setdefault(vm, []).append((now, "BAD", 0, worker))

    def last(self, vm):
        """(time, number, worker) of the newest report, or None."""
        with self.lock:
            for t, kind, number, worker in reversed(self.seen.get(vm, [])):
                if kind in "DS":
                    return t, number, worker
        return None

    def reports(self, vm):
        with self.lock:
            return [r for r in self.seen.get(vm, []) if r[1] in ("D", "S")]

    def bad(self, vm):
        with self.lock:
            return [r for r in self.seen.get(vm, []) if r[1] == "BAD"]

    def interruptions_ms(self, vm):
        """One a move: from the last report on one worker to the first on the next."""
        reports = self.reports(vm)
        return [(b[0] - a[0]) * 1000 for a, b in zip(reports, reports[1:]) if a[3] != b[3]]

    def wait_for_more(self, vm, limit_s=60):
        """Until the guest reports something newer than now."""
        start = time.monotonic()
        return wait_until(lambda: (lambda r: r if r and r[0] > start else None)(self.last(vm)), limit_s, f"{vm} reports")
