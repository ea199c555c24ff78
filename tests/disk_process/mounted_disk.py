"""A disk with a file system, mounted: ebb-diskd, qemu-nbd as a client with reconnect, nbdfuse on that, a loop device on its file. The
kernel above is a guest like any other. Needs root. (QEMU's own FUSE export would be one step less, but 7.2 loses the data of writes
that come at once: it reads the next request into the buffer of the one that it is carrying out.)"""

import os
import shutil
import socket
import subprocess
import sys

from rig import check, wait_until

SKIPPED = 77  # as CMakeLists.txt tells ctest


def require(*tools):
    """What a package brings is an error where it is missing; what the machine does not allow is said, and skipped."""
    missing = [tool for tool in ("qemu-nbd", "nbdfuse", "losetup", *tools) if not shutil.which(tool)]
    check(not missing, f"{', '.join(missing)} not found: run ./dev setup")
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
        print("skipped: mounting needs root, /dev/fuse and /dev/loop-control", flush=True)
        sys.exit(SKIPPED)
    mount_by_ourselves()


def mount_by_ourselves():
    """In a mount namespace of our own: what we mount goes with us, even if we are killed, and what somebody else left behind, a
    mount whose server is dead for example, at which mkfs.btrfs gives up, is taken out of our sight, not of theirs."""
    if "EBB_OWN_MOUNTS" not in os.environ:
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(words[0], words, os.environ | {"EBB_OWN_MOUNTS": "1"})
    with open("/proc/self/mounts") as mounts:
        left = [folder for _, folder, *_ in map(str.split, mounts) if os.path.basename(os.path.dirname(folder)).startswith("ebb-disk-")]
    for folder in reversed(left):
        run("umount", "--lazy", folder)


def run(*words, codes=(0,), limit_s=120):
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit_s)
    check(done.returncode in codes, f"{' '.join(map(str, words))} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def accepts(path):
    """A socket file is there before anybody listens on it."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(str(path))
            return True
        except OSError:
            return False


class BlockDevice:
    """A loop device whose blocks are the disk's."""

    def __init__(self, rig, disk, socket_path, reconnect_s=120):
        self.rig, self.file = rig, rig.root / f"{disk.name}.fuse"
        self.file.touch()
        self.loop, self.mounted, self.fuse = None, None, None
        socket_here = rig.root / f"{disk.name}.client"
        socket_here.unlink(missing_ok=True)
        self.client = rig.run(
            ["qemu-nbd", "--persistent", "--shared=8", "--cache=none", "--discard=unmap", "--socket", socket_here, "--image-opts",
             f"driver=nbd,server.type=unix,server.path={socket_path},export={disk.name},reconnect-delay={reconnect_s}"], "client.log")
        rig.at_end(self.pull)
        wait_until(lambda: accepts(socket_here) or self.client.poll() is not None, 20, "qemu-nbd listens")
        self.fuse = rig.run(["nbdfuse", self.file, f"nbd+unix:///?socket={socket_here}"], "client.log")
        wait_until(lambda: os.stat(self.file).st_size == disk.size or self.fuse.poll() is not None, 20, "the disk is a file")
        check(self.fuse.poll() is None, f"nbdfuse: {(rig.root / 'client.log').read_text()}")
        # A hole that is punched comes as a trim, and a trim of less than a block need not leave zeroes: so only whole blocks.
        self.loop = run("losetup", "--find", "--show", "--direct-io=on", "--sector-size=4096", self.file).strip()

    def mount(self, *options):
        folder = self.rig.root / "mounted"
        folder.mkdir(exist_ok=True)
        run("mount", *options, self.loop, folder)
        self.mounted = folder
        return folder

    def unmount(self):
        if self.mounted:
            run("umount", self.mounted)
            self.mounted = None

    def close(self):
        """In good order: everything the kernel held has been written."""
        self.unmount()
        if self.loop:
            run("losetup", "--detach", self.loop)
            self.wait_detached()
        run("umount", self.file)
        check(self.fuse.wait(30) == 0, "nbdfuse ends well")
        self.client.terminate()
        self.client.wait(30)

    def pull(self, let_go=lambda: None):
        """As if the guest had lost its power: what its kernel had not written is gone. `let_go`: of files that are open."""
        for process in (self.fuse, self.client):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        let_go()
        if self.mounted:
            run("umount", "--lazy", self.mounted, codes=(0, 1, 32))
            self.mounted = None
        if self.loop:
            run("losetup", "--detach", self.loop, codes=(0, 1))
            self.wait_detached()
        run("umount", "--lazy", self.file, codes=(0, 1, 32))

    def wait_detached(self):
        """A loop device goes when the last user of it has."""
        wait_until(lambda: not os.path.exists(f"/sys/block/{os.path.basename(self.loop)}/loop/backing_file"), 20, f"{self.loop} is free")
        self.loop = None
