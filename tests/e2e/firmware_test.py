"""Images that boot by themselves, as clouds have them: a qcow2 from the web, by BIOS and by UEFI, drained and stopped like any other; and the
files and addresses that are refused, with nothing left behind."""

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import threading

from e2e import Fleet, arguments, check, consoles, expect_failure, no_guest_saw_an_error, ran_in_one_place_at_a_time, wait_until

args = arguments()
DATA_AT = 36864 * 512  # where the witness's partition begins: see guest/build-guest.sh


class Web:
    """Serves the files of a folder on loopback; /away leads to a file of this machine."""

    def __init__(self, folder):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *words):
                super().__init__(*words, directory=str(folder))

            def do_GET(self):
                if self.path != "/away":
                    return super().do_GET()
                self.send_response(302)
                self.send_header("location", f"file://{folder}/boot.qcow2")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def qemu_img(*words):
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def refusals(fleet, web, folder):
    def refused(disk, code, *says, more=()):
        expect_failure(fleet.ebb("images", "import", "bad", "--disk", disk, *more, check=False), code, *says)

    refused(f"{web.url}/nothing", 2, "404")
    refused(f"{web.url}/away", 2, "file")
    refused(f"file://{folder}/boot.qcow2", 2, "http")
    refused(f"{web.url}/boot.qcow2", 2, "SHA-256", more=["--sha256", "0" * 64])
    qemu_img("create", "-f", "qcow2", "-b", folder / "boot.qcow2", "-F", "qcow2", folder / "backed.qcow2")
    refused(folder / "backed.qcow2", 2, "another file")
    whole = (folder / "boot.qcow2").read_bytes()
    (folder / "short.qcow2").write_bytes(whole[: len(whole) // 2])
    refused(folder / "short.qcow2", 2, "short.qcow2")
    refused(folder / "nothing.qcow2", 2, "nothing.qcow2")
    refused(folder / "boot.qcow2", 2, "floppy", more=["--firmware", "floppy"])
    check(not fleet.items("images"), "nothing is left of a refused image")
    left = os.listdir(os.environ["TMPDIR"])
    check(not left, f"nothing is left of what was downloaded: {left}")


with Fleet(args.bin, args.guest, workers=2, memory="1200MiB") as fleet:
    folder = fleet.root / "images"
    folder.mkdir()
    os.environ["TMPDIR"] = str(fleet.root / "meanwhile")
    (fleet.root / "meanwhile").mkdir()
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-c", pathlib.Path(args.guest) / "boot.raw", folder / "boot.qcow2")
    sha256 = hashlib.sha256((folder / "boot.qcow2").read_bytes()).hexdigest()
    web = Web(folder)
    fleet.start()
    refusals(fleet, web, folder)

    fleet.ebb("images", "import", "cloud", "--disk", f"{web.url}/boot.qcow2", "--sha256", sha256, "--channel", "witness")
    fleet.ebb("images", "import", "cloud-uefi", "--disk", folder / "boot.qcow2", "--firmware", "uefi", "--channel", "witness")
    web.stop()
    vms = {"by-bios": "cloud", "by-uefi": "cloud-uefi"}
    (folder / "id.pub").write_text("# mine\nssh-ed25519 AAAA me@here\n")
    (folder / "user-data").write_text("#cloud-config\npackages: [htop]\n")
    (folder / "wrong").write_text("echo hello\n")
    expect_failure(fleet.ebb("run", "bad", "--image", "cloud", "--user-data", folder / "wrong", check=False), 2, "#cloud-config")
    expect_failure(fleet.ebb("run", "bad", "--image", "cloud", "--ssh-key", folder / "wrong", check=False), 2, "public key")
    for name, image in vms.items():
        fleet.ebb("run", name, "--image", image, "--memory", "256M", "--ssh-key", folder / "id.pub", "--user-data", folder / "user-data")
    fleet.wait_running(vms, 240)
    for name in vms:
        fleet.watch.wait_for_more(name)

    home = fleet.worker_of("by-bios")
    drain = fleet.ebb("drain", home, "--reason", "test")
    wait_until(lambda: all(fleet.worker_of(name) != home for name in vms), 240, "the VMs have moved")
    fleet.wait_running(vms, 240)
    for name in vms:
        fleet.watch.wait_for_more(name)

    said = {}
    for path in consoles(fleet):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("seed: meta-data: ") and "ssh-ed25519 AAAA me@here" in line:
                seen = json.loads(line.removeprefix("seed: meta-data: "))
                said.setdefault(seen["local-hostname"], []).append(seen["instance-id"])
    for name in vms:
        check(len(said.get(name, [])) >= 2 and len(set(said[name])) == 1, f"{name} is the same instance on both workers: {said}")
    no_guest_saw_an_error(fleet, vms)
    ran_in_one_place_at_a_time(fleet, vms)
    fleet.stop_vms(vms)
    for name in vms:
        verdict = fleet.check_records(name, at=DATA_AT)
        check(verdict["lost"] == 0 and verdict["bad"] == 0 and verdict["records"] > 0, f"{name}: {verdict}")
    for name in vms:
        fleet.ebb("rm", name)
    for image in vms.values():
        wait_until(lambda: fleet.ebb("images", "rm", image, check=False).returncode == 0, 60, f"{image} goes")
