"""Who is measured: ebb-diskd, the peers that serve a block device on a unix socket, s3backer's FUSE file, and the S3 server behind
them; and fio, which asks all of them."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
MIB, GIB = 1 << 20, 1 << 30


def wait_for(condition, limit_s, what):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.01)


class Server:
    """A process that serves one export on a unix socket."""

    def __init__(self, name, words, socket_path, export=""):
        self.name, self.socket, self.export = name, str(socket_path), export
        self.process = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(lambda: os.path.exists(self.socket) or self.process.poll() is not None, 20, f"{name} listens")
        if self.process.poll() is not None:
            raise RuntimeError(f"{name}: {self.process.stderr.read().decode()}")

    @property
    def uri(self):
        return f"nbd+unix:///{self.export}?socket={self.socket}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def tool(bins, command, pool, *words):
    """What ebb-bench-disk prints."""
    done = subprocess.run([bins / "ebb-bench-disk", command, pool, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout


def objects_a_second(bins, pool, size, count, parallel):
    """How many objects of that size the store itself takes, and gives back, through the same client: as a distance to compare with."""
    return [count / float(seconds) for seconds in tool(bins, "objects", pool, size, count, parallel).split()]


class Ours:
    """ebb-diskd on a pool; its disks are opened by asking it."""

    def __init__(self, bins, root, pool, memory_mib=64):
        self.bins, self.root, self.pool, self.name = bins, root, pool, "ebb-diskd"
        self.epochs = {}
        (root / "run").mkdir(parents=True)
        config = root / "diskd.toml"
        config.write_text(f'worker = "bench"\nstate_dir = "{root}/state"\nrun_dir = "{root}/run"\nlisten = "unix:{root}/sock"\n'
                          f'log_level = "warning"\nvm_user = "root"\ncache_memory = "{memory_mib}MiB"\n[pools.main]\nurl = "{pool}"\n')
        self.process = subprocess.Popen([bins / "ebb-diskd", "--config", config], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(lambda: (root / "sock").exists() or self.process.poll() is not None, 60, "ebb-diskd listens")
        if self.process.poll() is not None:
            raise RuntimeError(self.process.stderr.read().decode())

    def tool(self, *words):
        return tool(self.bins, words[0], self.pool, *words[1:])

    def ask(self, verb, **body):
        while True:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(self.root / "sock"))
                text = json.dumps(body)
                s.sendall(f"POST /{verb} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
                          f"content-length: {len(text)}\r\n\r\n{text}".encode())
                answer = b"".join(iter(lambda: s.recv(65536), b""))
            head, _, rest = answer.partition(b"\r\n\r\n")
            status = json.loads(rest)
            if b" 200 " not in head.split(b"\r\n")[0] + b" ":
                raise RuntimeError(f"{verb}: {status}")
            if status["state"] not in ("opening", "sealing"):
                return status
            time.sleep(0.002)

    def open(self, disk, disk_class):
        self.epochs[disk] = self.epochs.get(disk, 0) + 1
        status = self.ask("open", disk=disk, pool="main", epoch=self.epochs[disk], disk_class=disk_class, read_only=False, take_over=False)
        self.socket, self.export = status["nbd_socket"], status["nbd_export"]
        return self

    def seal(self, disk):
        self.ask("seal", disk=disk, pool="main", epoch=self.epochs[disk])
        self.ask("close", disk=disk, pool="main", epoch=self.epochs[disk])

    @property
    def uri(self):
        return f"nbd+unix:///{self.export}?socket={self.socket}"

    def memory_mib(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class S3Server:
    """Our S3 server, in memory, with so many milliseconds before each answer."""

    KEYS = ("bench", "bench-secret")

    def __init__(self, bins, root, latency_ms):
        root.mkdir()
        self.credentials = root / "s3.ini"
        self.credentials.write_text("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n".format(*self.KEYS))
        self.process = subprocess.Popen([bins / "ebb-test-s3", "--bucket", "bench", "--access-key", self.KEYS[0], "--secret-key", self.KEYS[1],
                                         "--latency-ms", str(latency_ms)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError("ebb-test-s3 did not start")
        self.address = line.split()[-1]

    def pool(self, prefix):
        return f"s3://bench/{prefix}?endpoint=http://{self.address}&region=us-east-1&style=path&credentials={self.credentials}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class S3Backer:
    """s3backer's FUSE file on a prefix of its own. Unmounting it ends when its dirty cache is in the store."""

    def __init__(self, server, root, prefix, block, size_mib, *options, cache_blocks=8192, cache_file=None):
        self.name, self.mount = f"s3backer {block} blocks", root / prefix
        self.mount.mkdir(exist_ok=True)
        self.path = self.mount / "file"
        words = ["s3backer", "-f", "--quiet", f"--accessId={server.KEYS[0]}", f"--accessKey={server.KEYS[1]}", f"--baseURL=http://{server.address}/",
                 f"--blockSize={block}", f"--size={size_mib}m", f"--blockCacheFile={root}/{cache_file or prefix + '.cache'}", f"--blockCacheSize={cache_blocks}",
                 "--listBlocks", f"--prefix={prefix}/", "--force", *options, "bench", str(self.mount)]
        self.log = open(root / f"{prefix}.log", "ab")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_for(lambda: self.path.exists() or self.process.poll() is not None, 30, "s3backer mounts")
        if self.process.poll() is not None:
            raise RuntimeError(f"s3backer: {pathlib.Path(self.log.name).read_text(errors='replace')[-500:]}")

    def stop(self):
        subprocess.run(["umount", self.mount], check=False)
        self.process.wait(600)
        self.log.close()


class CephRbd:
    """A disk of a Ceph cluster with one OSD in memory, served by qemu-nbd."""

    def __init__(self, root, size_mib, connections):
        self.name = "Ceph RBD (memstore) by qemu-nbd"
        words = [sys.executable, REPO / "tests/s3/radosgw.py", "--die-with-parent"]
        self.cluster = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        line = self.cluster.stdout.readline()
        if not line:
            raise RuntimeError("no Ceph cluster")
        self.conf = pathlib.Path(json.loads(line)["folder"]) / "ceph.conf"
        try:
            self.run("ceph", "osd", "pool", "create", "bench", "4")
            self.run("rbd", "create", "--size", f"{size_mib}M", "bench/disk")
            self.nbd = Server(self.name, ["qemu-nbd", "-f", "raw", "-t", "-e", connections, "-k", root / "rbd.sock", "-x", "e", "--cache=none",
                                          f"rbd:bench/disk:conf={self.conf}"], root / "rbd.sock", "e")
        except BaseException:
            self.end_cluster()
            raise
        self.uri = self.nbd.uri

    def run(self, *words):
        done = subprocess.run([words[0], "-c", self.conf, *words[1:]], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr[-1000:]}")

    def end_cluster(self):
        self.cluster.send_signal(signal.SIGTERM)
        self.cluster.wait(60)

    def stop(self):
        self.nbd.stop()
        self.end_cluster()


def fio_job(target, size, **options):
    """fio's whole report of one job. `target`: an NBD URI, or the path of a file."""
    where = ["--ioengine=nbd", f"--uri={target}"] if str(target).startswith("nbd") else [f"--filename={target}"]
    words = ["fio", "--output-format=json", "--name=job", *where, f"--size={size}", "--randrepeat=0"]
    words += [f"--{k}={v}" for k, v in options.items()]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}{done.stdout[-500:]}")
    return json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]


def fio(target, size, unit, **options):
    """IO/s or MB/s of the job's one direction."""
    job = fio_job(target, size, **options)
    side = job["read"] if "read" in options["rw"] else job["write"]
    return side["bw_bytes"] / 1e6 if unit == "MB/s" else side["iops"]


def raw_limit(path, size, unit, **options):
    """What the file system itself can do with O_DIRECT, as a distance to compare with."""
    return fio(path, size, unit, ioengine="io_uring", direct=1, **options)
