#!/usr/bin/env python3
"""Breaks guarantees on purpose, one at a time: each breakage must be caught by the test that it names.

A mutation is a file in mutations/: a header of `key: value` lines (guards, file, target, test), then the text to find and the
text to put instead, between lines `--- find`, `--- replace` and `--- end`; more such edits may follow, each of the file that a line
`file:` before it names. A line `sim:` names a run of ebb-sim that must fail as well: the simulator finds the breakage by itself, not
only the story that was written for it. A line `model:` says which breakage of the design's models that is. The tree itself is never touched: the runner works in
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


def fields_of(text):
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines()) if value}


class Edit:
    """One place of one file, and what it becomes."""

    def __init__(self, file, find, replace):
        self.file, self.find, self.replace = file, find, replace

    def places(self, whole):
        """(from, to) of each place where the text stands in `whole`, however either is broken into lines and indented."""
        kept = [i for i, c in enumerate(whole) if not c.isspace()]
        dense, find = "".join(whole[i] for i in kept), "".join(self.find.split())
        at, found = dense.find(find), []
        while at >= 0:
            found.append((kept[at], kept[at + len(find) - 1] + 1))
            at = dense.find(find, at + 1)
        return found

    def check_applies(self, name):
        count = len(self.places((REPO / self.file).read_text()))
        if count != 1:
            raise SystemExit(f"{name}: its text stands {count} times in {self.file}, not once: bring the mutation up to date")

    def broken(self, whole):
        (begin, end), = self.places(whole)
        return whole[:begin] + self.replace + whole[end:]


class Mutation:
    def __init__(self, path):
        self.name = path.stem
        head, _, rest = path.read_text().partition("--- find\n")
        fields = fields_of(head)
        self.guards, self.target, self.test = (fields[k] for k in ("guards", "target", "test"))
        self.sim, self.model = fields.get("sim"), fields.get("model")
        self.edits, file = [], fields["file"]
        while rest:
            find, _, rest = rest.partition("--- replace\n")
            replace, found, rest = rest.partition("--- end")
            if not found:
                raise SystemExit(f"{path.name}: needs '--- find', '--- replace' and '--- end'")
            self.edits.append(Edit(file, find.removesuffix("\n"), replace.removesuffix("\n")))
            between, _, rest = rest.partition("--- find\n")
            file = fields_of(between).get("file", file)

    def runs(self):
        """(what to build, command) of each that must fail."""
        runs = [(self.target, self.test.split())]
        return runs + [("ebb-sim", ["ebb-sim", *self.sim.split()])] if self.sim else runs

    def check_applies(self):
        for edit in self.edits:
            edit.check_applies(self.name)


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


def run(words):
    environment = {**os.environ, "EBB_GUEST_DIR": str(REPO / "build/guest")}  # for those with real machines: guest/build-guest.sh makes it
    return subprocess.run([f"build/dev/bin/{words[0]}", *words[1:]], env=environment, capture_output=True, text=True, timeout=TEST_LIMIT_S)


def is_found_by(target, words):
    """(verdict, text): whether this run fails on the code as it lies there."""
    built = build(target)
    if built.returncode != 0:
        return False, "does not compile:\n" + "\n".join(l for l in built.stdout.splitlines() if "error" in l)
    try:
        done = run(words)
    except subprocess.TimeoutExpired:
        return True, "the test did not end"
    return done.returncode != 0, (done.stdout + done.stderr)[-400:]


def caught(mutation):
    """(verdict, text): whether everything that is named fails on the broken code."""
    whole = {}
    for edit in mutation.edits:
        path = REPO / edit.file
        whole.setdefault(path, path.read_text())
        path.write_text(edit.broken(path.read_text()))
    subprocess.run(["clang-format-19", "-i", *whole])  # a text may come with other lines than its place has: indentation is warned of
    try:
        for target, words in mutation.runs():
            verdict, text = is_found_by(target, words)
            if not verdict:
                return False, " ".join(words) + ": " + text
        return True, ""
    finally:
        for path, text in whole.items():
            path.write_text(text)


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
    for target, words in sorted({(target, tuple(words)) for m in mutations for target, words in m.runs()}):
        if build(target).returncode != 0:
            raise SystemExit(f"{target} does not build even unbroken")
        if run(words).returncode != 0:
            raise SystemExit(f"{' '.join(words)} fails even unbroken")
    survivors = 0
    for mutation in mutations:
        began = time.monotonic()
        verdict, text = caught(mutation)
        survivors += not verdict
        print(f"{'caught  ' if verdict else 'SURVIVED'}  {mutation.name}: {mutation.guards} [{', '.join(' '.join(words) for _, words in mutation.runs())}] {time.monotonic() - began:.0f} s", flush=True)
        if not verdict:
            print(text)
    print(f"{len(mutations) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
