#!/usr/bin/env python3
"""Breaks guarantees on purpose, one at a time: each breakage must be caught by the test that it names.

A mutation is a file in mutations/: a header of `key: value` lines (guards, file, target, test), then the text to find and the
text to put instead, between lines `--- find`, `--- replace` and `--- end`. The tree itself is never touched: the runner works in
a mount namespace of its own, where an overlay lies over the tree, so that the ordinary build folder serves, and nothing that
happens here is seen outside."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path(__file__).resolve().parent / "mutations"
TEST_LIMIT_S = 600


class Mutation:
    def __init__(self, path):
        self.name = path.stem
        head, _, rest = path.read_text().partition("--- find\n")
        self.find, _, rest = rest.partition("--- replace\n")
        self.replace, found, _ = rest.partition("--- end")
        if not found:
            raise SystemExit(f"{path.name}: needs '--- find', '--- replace' and '--- end'")
        self.find, self.replace = self.find.removesuffix("\n"), self.replace.removesuffix("\n")
        fields = dict(line.split(":", 1) for line in head.splitlines() if ":" in line)
        self.guards, self.file, self.target, self.test = (fields[k].strip() for k in ("guards", "file", "target", "test"))

    def places(self, whole):
        """(from, to) of each place where the text stands in `whole`, however either is broken into lines and indented."""
        kept = [i for i, c in enumerate(whole) if not c.isspace()]
        dense, find = "".join(whole[i] for i in kept), "".join(self.find.split())
        at, found = dense.find(find), []
        while at >= 0:
            found.append((kept[at], kept[at + len(find) - 1] + 1))
            at = dense.find(find, at + 1)
        return found

    def check_applies(self):
        count = len(self.places((REPO / self.file).read_text()))
        if count != 1:
            raise SystemExit(f"{self.name}: its text stands {count} times in {self.file}, not once: bring the mutation up to date")

    def broken(self, whole):
        (begin, end), = self.places(whole)
        return whole[:begin] + self.replace + whole[end:]


def enter_overlay():
    """Runs this program again where changes to the tree are private and vanish."""
    scratch = tempfile.mkdtemp(prefix="ebb-mutate-")
    for part in ("upper", "work"):
        os.mkdir(f"{scratch}/{part}")
    mount = f"mount -t overlay overlay -o lowerdir={REPO},upperdir={scratch}/upper,workdir={scratch}/work {REPO}"
    script = f'{mount} && cd {REPO} && EBB_MUTATE_OVERLAY=1 exec python3 "$@"'
    try:
        return subprocess.run(["unshare", "--mount", "bash", "-c", script, "mutate", __file__, *sys.argv[1:]]).returncode
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def build(target):
    return subprocess.run(["cmake", "--build", "build/dev", "--target", target], capture_output=True, text=True)


def caught(mutation):
    """(verdict, text): whether the named test fails on the broken code."""
    path = REPO / mutation.file
    whole = path.read_text()
    path.write_text(mutation.broken(whole))
    try:
        built = build(mutation.target)
        if built.returncode != 0:
            return False, "does not compile:\n" + "\n".join(l for l in built.stdout.splitlines() if "error" in l)
        words = mutation.test.split()
        try:
            done = subprocess.run([f"build/dev/bin/{words[0]}", *words[1:]], capture_output=True, text=True, timeout=TEST_LIMIT_S)
        except subprocess.TimeoutExpired:
            return True, "the test did not end"
        return done.returncode != 0, (done.stdout + done.stderr)[-400:]
    finally:
        path.write_text(whole)


def main():
    is_check = sys.argv[1:] == ["--check"]  # only whether each still finds its text
    wanted = [] if is_check else sys.argv[1:]
    mutations = [Mutation(p) for p in sorted(FOLDER.glob("*.txt")) if not wanted or p.stem in wanted]
    if not mutations:
        raise SystemExit(f"no such mutation; there are: {', '.join(p.stem for p in sorted(FOLDER.glob('*.txt')))}")
    for mutation in mutations:
        mutation.check_applies()
    if is_check:
        print(f"{len(mutations)} mutations apply")
        return 0
    if "EBB_MUTATE_OVERLAY" not in os.environ:
        return enter_overlay()
    for target in sorted({m.target for m in mutations}):
        if build(target).returncode != 0:
            raise SystemExit(f"{target} does not build even unbroken")
    for test in sorted({m.test for m in mutations}):
        words = test.split()
        if subprocess.run([f"build/dev/bin/{words[0]}", *words[1:]], capture_output=True).returncode != 0:
            raise SystemExit(f"{test} fails even unbroken")
    survivors = 0
    for mutation in mutations:
        began = time.monotonic()
        verdict, text = caught(mutation)
        survivors += not verdict
        print(f"{'caught  ' if verdict else 'SURVIVED'}  {mutation.name}: {mutation.guards} [{mutation.test}] {time.monotonic() - began:.0f} s", flush=True)
        if not verdict:
            print(text)
    print(f"{len(mutations) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
