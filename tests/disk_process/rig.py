"""Lone disk daemons on a pool, for tests with real processes: started, killed, frozen, robbed of their state; and S3 servers."""

import argparse
import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

TESTS = pathlib.Path(__file__).resolve().parents[1]
for other in ("fleet", "s3"):
    sys.path.insert(0, str(TESTS / other))
from fleet import Program, wait_until  # noqa: E402
from s3_client import S3Client  # noqa: E402

MIB = 1 << 20


def arguments(description, **more):
    """`more`: the options of one test and what they are without being given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=None)
    for name, default in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {args.seed}", flush=True)
    return args


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def fio_seed(seed):
    """Options of fio for a sequence of its own: with fio 3.33 --randseed alone changes nothing."""
    return ["--randrepeat=0", f"--randseed={seed % (1 << 30)}"]


def in_parallel(stories, width=4):
    """Each in a process of its own, since they wait most of their time. All of them end; then one failure is a failure."""
    processes = multiprocessing.get_context("fork")
    waiting, running, failed = list(stories), [], 0
    while waiting or running:
        while waiting and len(running) < width:
            running.append(processes.Process(target=waiting.pop(0)))
            running[-1].start()
        multiprocessing.connection.wait([process.sentinel for process in running])
        for process in [p for p in running if not p.is_alive()]:
            process.join()
            failed += process.exitcode != 0
            running.remove(process)
    check(failed == 0, f"{failed} failed")


class Refused(Exception):
    def __init__(self, verb, status, body):
        super().__init__(f"{verb}: {status}: {body.get('message') or body}")
        self.status, self.body = status, body


class Diskd:
    """One worker's daemon. Its disks are opened by asking it, as an agent would."""

    def __init__(self, rig, name, settle="0s", cache_memory="8MiB", map_memory="64MiB", memory=None):
        """`memory`: one number for all of it, instead of the two."""
        self.rig, self.name, self.root = rig, name, rig.root / name
        (self.root / "run").mkdir(parents=True)
        self.state = self.root / "state"
        self.config = self.root / "diskd.toml"
        self.config.write_text(
            f'worker = "{name}"\nstate_dir = "{self.state}"\nrun_dir = "{self.root}/run"\nlisten = "unix:{self.root}/sock"\n'
            f'vm_user = "root"\nsettle = "{settle}"\nlog_level = "info"\n'
            + (f'memory = "{memory}"\n' if memory else f'cache_memory = "{cache_memory}"\nmap_memory = "{map_memory}"\n')
            + f'cache_disk = "64MiB"\n[pools.main]\nurl = "{rig.pool}"\n')
        self.log = self.root / "diskd.log"
        self.program = Program([rig.bin / "ebb-diskd", "--config", self.config], self.log)

    def start(self):
        (self.root / "sock").unlink(missing_ok=True)
        self.program.start()
        wait_until(lambda: self.answers() or not self.program.is_running(), 30, f"{self.name} listens")
        check(self.program.is_running(), f"{self.name} ended: {self.said()}")
        return self

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(self.root / "sock"))
                return True
            except OSError:
                return False

    def kill(self):
        self.program.kill()

    def freeze(self):
        """Returns when each of its threads stands."""
        self.program.signal(signal.SIGSTOP)
        wait_until(self.is_frozen, 30, f"{self.name} stands still")

    def is_frozen(self):
        states = [task.joinpath("stat").read_text().rpartition(")")[2].split()[0]
                  for task in pathlib.Path(f"/proc/{self.program.pid}/task").iterdir()]
        return set(states) == {"T"}

    def thaw(self):
        self.program.signal(signal.SIGCONT)

    def stop(self):
        if self.program.is_running():
            self.program.stop()

    def lose_state(self):
        """The host is lost with all that was on it."""
        self.kill()
        shutil.rmtree(self.state)

    def said(self):
        return self.log.read_text(errors="replace")[-3000:]

    def request(self, method, path, body=None, timeout_s=30):
        text = json.dumps(body) if body is not None else ""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout_s)
            s.connect(str(self.root / "sock"))
            s.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
                      f"content-length: {len(text)}\r\n\r\n{text}".encode())
            answer = b"".join(iter(lambda: s.recv(65536), b""))
        head, _, rest = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), rest

    def ask(self, verb, **body):
        status, rest = self.request("POST", f"/{verb}", body)
        answer = json.loads(rest)
        if status != 200:
            raise Refused(verb, status, answer)
        return answer

    def status(self):
        return json.loads(self.request("GET", "/status")[1])

    def status_of(self, disk):
        return next((d for d in self.status()["disks"] if d["disk"] == disk), None)

    def metric(self, name):
        """The sum over its labels."""
        lines = self.request("GET", "/metrics")[1].decode().splitlines()
        found = [float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{"))]
        check(found, f"there is no metric {name}")
        return sum(found)

    def open(self, disk, take_over=False, limit_s=60, **more):
        """Under a new placement epoch."""
        disk.epoch += 1
        request = dict(disk=disk.name, pool="main", epoch=disk.epoch, disk_class=disk.disk_class, read_only=False, take_over=take_over, **more)
        return wait_until(lambda: self.served(self.ask("open", **request)), limit_s, f"{disk.name} is open at {self.name}")

    def wait_served(self, disk, limit_s=60):
        """After a restart the daemon opens by itself what was open."""
        return wait_until(lambda: self.served(self.status_of(disk.name)), limit_s, f"{disk.name} is served again by {self.name}")

    def served(self, status):
        if status and status["state"] in ("failed", "fenced"):
            raise Refused("open", status["state"], {"message": status["error"]})
        return status if status and status["state"] == "open" else None

    def seal(self, disk, limit_s=60):
        ref = dict(disk=disk.name, pool="main", epoch=disk.epoch)
        wait_until(lambda: self.ask("seal", **ref)["state"] == "sealed", limit_s, f"{disk.name} is sealed")
        self.ask("close", **ref)

    def socket_of(self, disk):
        return self.root / "run" / f"{disk.name}.sock"

    def uri(self, disk):
        return f"nbd+unix:///{disk.name}?socket={self.socket_of(disk)}"

    def memory_mib(self):
        return self.program.memory_mib()

    def peak_mib(self):
        """The most that it ever had resident since its start."""
        status = pathlib.Path(f"/proc/{self.program.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


class Disk:
    def __init__(self, name, size, disk_class):
        self.name, self.size, self.disk_class, self.epoch = name, size, disk_class, 0


class Bucket:
    """Of an S3 server at `endpoint`."""

    name, access_key, secret_key, tls = "pool", "A", "S", None

    def client(self):
        return S3Client(self.endpoint.partition("://")[2], self.access_key, self.secret_key, tls=self.tls)

    def url(self, credentials):
        return f"s3://{self.name}/cell-1?endpoint={self.endpoint}&credentials={credentials}"

    def objects(self, prefix):
        """Key -> bytes of what is there; our own list, since Ebb never asks for one."""
        found, query = {}, {"list-type": "2", "prefix": prefix}
        client = self.client()
        while True:
            reply = client.call("GET", f"/{self.name}", query=query)
            check(reply.status == 200, f"{reply}")
            listed = re.findall("<Key>([^<]*)</Key>.*?<Size>(\\d+)</Size>", reply.body.decode(), re.DOTALL)
            found.update((key, int(size)) for key, size in listed)
            if b"<IsTruncated>true" not in reply.body:
                client.close()
                return found
            query["start-after"] = listed[-1][0]

    def keys(self, prefix):
        return list(self.objects(prefix))

    def forget(self, keys):
        pass


class Radosgw(Bucket):
    """Ceph's, a real store: it makes no mistake on command."""

    def __init__(self, log):
        with open(log, "ab") as out:
            self.process = subprocess.Popen([sys.executable, TESTS / "s3/radosgw.py", "--die-with-parent"], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=out, text=True, start_new_session=True)
        line = self.process.stdout.readline()
        check(line, log.read_text())
        said = json.loads(line)
        self.endpoint, self.name = said["endpoint"], said["bucket"]
        self.access_key, self.secret_key = said["access_key"], said["secret_key"]

    def fault(self, *rules, seed=7):
        pass

    def stop(self):
        self.process.terminate()
        self.process.wait()


class S3Server(Bucket):
    """Ours, in memory, with faults on command. `tls_folder`: it speaks HTTPS only, with a certificate that is made there."""

    def __init__(self, bins, log, latency_ms=0, more=(), tls_folder=None):
        if tls_folder:
            self.certificate, key = tls_folder / "certificate.pem", tls_folder / "key.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=ebb test", "-addext",
                            "subjectAltName=IP:127.0.0.1", "-out", self.certificate, "-keyout", key], check=True, capture_output=True)
            self.tls = ssl.create_default_context(cafile=self.certificate)
            more = [*more, "--certificate", self.certificate, "--key", key]
        words = [bins / "ebb-test-s3", "--bucket", self.name, "--access-key", self.access_key, "--secret-key", self.secret_key,
                 "--latency-ms", str(latency_ms), *more]
        with open(log, "ab") as out:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out, text=True, start_new_session=True)
        self.endpoint = ("https://" if self.tls else "http://") + self.process.stdout.readline().split()[-1]

    def url(self, credentials):
        return super().url(credentials) + (f"&ca={self.certificate}" if self.tls else "")

    def plan(self, **plan):
        request = urllib.request.Request(f"{self.endpoint}/-/faults", data=json.dumps(plan).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10, context=self.tls).read()

    def fault(self, *rules, seed=7):
        self.plan(seed=seed, rules=rules)

    def forget(self, keys):
        """Keys that are gone for good. The server keeps what was removed, for stale reads; in place of these, an empty object."""
        client = self.client()
        for key in keys:
            for method in ("PUT", "DELETE"):
                client.call(method, f"/{self.name}/{key}")
        client.close()

    def stats(self):
        with urllib.request.urlopen(f"{self.endpoint}/-/stats", timeout=10, context=self.tls) as answer:
            return json.load(answer)

    def faults_met(self):
        """How many requests met a fault so far."""
        return sum(self.stats()["faults"].values())

    def is_quiet(self):
        return self.stats()["in_flight"] == 0

    def hold_up(self, method, prefix, ms):
        """Requests for such keys take so long that whoever is stopped now is stopped in one. Returns what waits until so many have come.
        Nothing else is on its way when it begins: what is_quiet() denies from then on is held."""
        self.fault()
        wait_until(self.is_quiet, 30, "nothing is on its way to the store")
        before = self.faults_met()
        self.fault({"fault": "latency", "method": method, "prefix": prefix, "ms": ms})
        return lambda what, count=1: wait_until(lambda: self.faults_met() >= before + count, 30, what)

    def stop(self):
        self.process.kill()
        self.process.wait()


BAD_STORE = ({"fault": "latency", "ms": 5, "jitter_ms": 30}, {"fault": "slow_down", "probability": 0.1},
             {"fault": "lost_reply", "method": "PUT", "probability": 0.05}, {"fault": "internal_error", "probability": 0.03},
             {"fault": "cut_body", "method": "GET", "probability": 0.05}, {"fault": "false_precondition", "probability": 0.02},
             {"fault": "conflict", "method": "PUT", "probability": 0.05}, {"fault": "close_before", "probability": 0.03},
             {"fault": "false_error", "probability": 0.03})


class Rig:
    """A pool, and what runs on it; gone at the end, however it comes. `store`: "folder", "s3", "https" (the same over TLS) or "radosgw"."""

    def __init__(self, bins, store="folder", latency_ms=0, s3_options=()):
        self.bin = pathlib.Path(bins).resolve()
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="ebb-disk-"))
        self.daemons, self.processes, self.endings = [], [], []
        self.store, self.s3 = store, None
        if store == "folder":
            self.pool = f"dir:{self.root}/pool"
            return
        log = self.root / "s3.log"
        self.s3 = Radosgw(log) if store == "radosgw" else S3Server(self.bin, log, latency_ms, s3_options, self.root if store == "https" else None)
        credentials = self.root / "s3.ini"
        credentials.write_text(f"[default]\naws_access_key_id = {self.s3.access_key}\naws_secret_access_key = {self.s3.secret_key}\n")
        self.pool = self.s3.url(credentials)

    def tool(self, program, *words):
        return subprocess.run([self.bin / program, *map(str, words)], capture_output=True, text=True, timeout=300)

    def create(self, name, size, disk_class):
        done = self.tool("ebb-bench-disk", "create", self.pool, name, size, disk_class)
        check(done.returncode == 0, done.stderr)
        return Disk(name, size, disk_class)

    def diskd(self, name, **options):
        daemon = Diskd(self, name, **options)
        self.daemons.append(daemon)
        return daemon.start()

    def run(self, words, log, **options):
        """A program beside the daemons, in the background."""
        with open(self.root / log, "ab") as out:
            options.setdefault("stdout", out)
            process = subprocess.Popen([*map(str, words)], stdin=subprocess.DEVNULL, stderr=out, start_new_session=True, **options)
        self.processes.append(process)
        return process

    def at_end(self, action):
        """Called at the end, the last one first, before processes are killed."""
        self.endings.append(action)

    def objects(self):
        """Key -> bytes of all that the pool holds."""
        if self.s3:
            return self.s3.objects("cell-1/")
        pool, found = self.root / "pool", {}
        for folder, _, files in os.walk(pool):
            for name in files:
                with contextlib.suppress(FileNotFoundError):  # reclaimed at this moment
                    found[os.path.relpath(f"{folder}/{name}", pool)] = os.stat(f"{folder}/{name}").st_size
        return found

    def offline_check(self, disk):
        """What the store holds, by its checksums alone."""
        done = self.tool("ebb-disk", "check", "--pool", self.pool, disk.name)
        check(done.returncode == 0, f"ebb-disk check: {done.stderr}")

    def scrub(self, disk):
        """Every object whole, and what they say against the map."""
        done = self.tool("ebb-disk", "scrub", "--pool", self.pool, disk.name)
        check(done.returncode == 0, f"ebb-disk scrub: {done.stdout}{done.stderr}")

    def reclaim(self, disk):
        """As the control plane does. Returns how many objects are gone by it."""
        done = self.tool("ebb-bench-disk", "reclaim", self.pool, disk.name)
        check(done.returncode == 0, f"reclaim: {done.stderr}")
        return int(done.stdout)

    def offline_copy(self, disk):
        path = self.root / f"{disk.name}.raw"
        done = self.tool("ebb-disk", "cat", "--pool", self.pool, disk.name, path)
        check(done.returncode == 0, f"ebb-disk cat: {done.stderr}")
        return path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind:
            for daemon in self.daemons:
                print(f"--- {daemon.name}:\n{daemon.said()}", file=sys.stderr, flush=True)
        for action in reversed(self.endings):
            try:
                action()
            except (AssertionError, OSError, subprocess.SubprocessError) as trouble:
                print(f"while cleaning up: {trouble}", file=sys.stderr, flush=True)
        for daemon in self.daemons:
            daemon.kill()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        if self.s3:
            self.s3.stop()
        shutil.rmtree(self.root, ignore_errors=True)
