#!/usr/bin/env python3
"""Holds the tree against the levels: who may include whom, which libraries stay inside, how long a file may be.

The link tests catch what links; this catches headers, which do not. Usage: layering_test.py [ROOT]; prints every
violation as path:line: text and exits 1 if there is one. Before that it looks at a small tree of its own, where one violation
of each rule is planted, and exits 1 if it misses one or finds one that is none.
"""
import re
import sys
import tempfile
from pathlib import Path

LINES_MAX = 600

# Headers that a module may include without declaring the module that holds them, with the reason.
HEADER_ONLY_ALLOWED = {
    # (including module, header): reason
    ("nbd", "disk/block_device.h"): "the block interface is a header without code, and the NBD server knows no more of the engine",
}

# Libraries that must not leak through a header: (pattern, modules whose headers may name them).
FENCED_LIBRARIES = [
    (re.compile(r"<boost/(asio|beast)"), {"platform"}),
    (re.compile(r"<(CLI/|CLI11)"), {"cli"}),
    (re.compile(r"<curl/"), {"platform"}),
    (re.compile(r"<toml\+\+/"), {"config"}),
    (re.compile(r"<sqlite3"), set()),
]
NEVER_TOGETHER = {"placement", "drain", "migration"}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<][^">]+[">])')


def declared_modules(root):
    """folder below src -> (name, modules it declared), from ebb_module(NAME x LEVEL n USES a b ...)."""
    modules = {}
    for cmake in sorted((root / "src").rglob("CMakeLists.txt")):
        for body in re.findall(r"ebb_module\s*\(([^)]*)\)", cmake.read_text()):
            words = body.split()
            name = words[words.index("NAME") + 1]
            uses = []
            if "USES" in words:
                for word in words[words.index("USES") + 1:]:
                    if word.isupper():
                        break
                    uses.append(word)
            modules[cmake.parent.relative_to(root / "src").as_posix()] = (name, set(uses))
    return modules


class Tree:
    """Which module a file below src belongs to, and which modules that one may use."""

    def __init__(self, root):
        self.root = root
        self.folders = declared_modules(root)
        self.uses = {name: uses for name, uses in self.folders.values()}

    def module_of(self, path):
        """Of the deepest declared folder that holds `path` (relative to src), or None."""
        for folder in Path(path).parents:
            if folder.as_posix() in self.folders:
                return self.folders[folder.as_posix()][0]
        top = Path(path).parts[0]
        return "apps" if top == "apps" else None


def closure(uses, name):
    seen, todo = set(), [name]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo.extend(uses.get(module, ()))
    return seen


def is_test(path):
    # testing.h and testing/ hold what tests of a module share.
    return "testing" in path.with_suffix("").parts or path.stem.endswith("_test") or path.stem.startswith("test_")


def is_platform(path):
    return Path(path).parts[0] == "platform"


def check_include(path, target, tree):
    """The reason why the file at `path` (relative to src) may not include "target", or None."""
    if not (tree.root / "src" / target).exists():
        return None  # beside the including file, or not ours
    module, included = tree.module_of(path), tree.module_of(target)
    if included is None:
        return f"{Path(target).parts[0]} declares no module"
    if included == module:
        return None
    if included == "apps":
        return "nothing includes apps"
    if is_platform(target) and module != "apps" and not is_platform(path):
        return "only apps include platform"
    if included == "sim" and module != "apps" and not is_test(path):
        return "only apps and tests include sim"
    if {module, included} <= NEVER_TOGETHER:
        return f"{module} and {included} never include each other: they meet in control"
    if (module, target) in HEADER_ONLY_ALLOWED or module == "apps" or is_test(path):
        return None
    if included not in closure(tree.uses, module):
        return f"{module} did not declare that it USES {included}"
    return None


def check_file(path, tree):
    relative = path.relative_to(tree.root / "src")
    lines = path.read_text().splitlines()
    where = path.relative_to(tree.root)
    if len(lines) > LINES_MAX:
        yield f"{where}:{len(lines)}: a file in src has at most {LINES_MAX} lines"
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(1)
        if target.startswith('"'):
            problem = check_include(relative, target.strip('"'), tree)
            if problem:
                yield f"{where}:{number}: {target}: {problem}"
        if path.suffix == ".h":
            for pattern, allowed in FENCED_LIBRARIES:
                if pattern.match(target) and relative.parts[0] not in allowed:
                    yield f"{where}:{number}: {target} in a header of {relative.parts[0]}: include it in a .cpp"


def check_tree(root):
    """All problems of the tree, and how many files and modules it has."""
    tree = Tree(root)
    files = sorted(p for p in (root / "src").rglob("*") if p.suffix in (".h", ".cpp", ".c"))
    undeclared = {p.relative_to(root / "src").parts[0] for p in files if not tree.module_of(p.relative_to(root / "src"))}
    problems = [f"src/{folder}: holds sources but declares no module" for folder in sorted(undeclared)]
    for path in files:
        if tree.module_of(path.relative_to(root / "src")):
            problems.extend(check_file(path, tree))
    return problems, len(files), len(tree.folders)


# A tree with a violation of each rule: path -> (text, what must be said of it; None: nothing).
PLANTED = {
    "src/base/CMakeLists.txt": ("ebb_module(NAME base LEVEL 0 SOURCES a.cpp)", None),
    "src/model/CMakeLists.txt": ("ebb_module(NAME model LEVEL 1 USES base SOURCES a.cpp)", None),
    "src/drain/CMakeLists.txt": ("ebb_module(NAME drain LEVEL 2 USES base model placement SOURCES a.cpp)", None),
    "src/placement/CMakeLists.txt": ("ebb_module(NAME placement LEVEL 2 USES base SOURCES a.cpp)", None),
    "src/platform/CMakeLists.txt": ("ebb_module(NAME platform LEVEL 5 USES base SOURCES a.cpp)", None),
    "src/cli/CMakeLists.txt": ("ebb_module(NAME cli LEVEL 4 USES base LIBS CLI11 SOURCES a.cpp)", None),
    "src/sim/CMakeLists.txt": ("ebb_module(NAME sim LEVEL 5 USES base SOURCES a.cpp)", None),
    "src/base/a.h": ("#pragma once", None),
    "src/model/fine.h": ('#include "base/a.h"', None),
    "src/model/fine_test.cpp": ('#include "sim/a.h"', None),
    "src/platform/a.h": ("#include <boost/asio.hpp>", None),
    "src/cli/a.h": ("#include <CLI/CLI.hpp>", None),
    "src/sim/a.h": ("#pragma once", None),
    "src/apps/a.h": ("#pragma once", None),
    "src/apps/main.cpp": ('#include "platform/a.h"\n#include "sim/a.h"', None),
    "src/placement/a.h": ("#pragma once", None),
    "src/placement/up.cpp": ('#include "model/fine.h"', "placement did not declare that it USES model"),
    "src/drain/sideways.cpp": ('#include "placement/a.h"', "never include each other"),
    "src/model/far.cpp": ('#include "platform/a.h"', "only apps include platform"),
    "src/model/simulated.cpp": ('#include "sim/a.h"', "only apps and tests include sim"),
    "src/cli/main.cpp": ('#include "apps/a.h"', "nothing includes apps"),
    "src/model/asio.h": ("#include <boost/asio.hpp>", "<boost/asio.hpp> in a header of model"),
    "src/model/beast.h": ("#include <boost/beast/http.hpp>", "<boost/beast/http.hpp> in a header of model"),
    "src/model/cli.h": ("#include <CLI/CLI.hpp>", "<CLI/CLI.hpp> in a header of model"),
    "src/model/curl.h": ("#include <curl/curl.h>", "<curl/curl.h> in a header of model"),
    "src/model/toml.h": ("#include <toml++/toml.h>", "<toml++/toml.h> in a header of model"),
    "src/model/sqlite.h": ("#include <sqlite3.h>", "<sqlite3.h> in a header of model"),
    "src/model/long.cpp": ("\n" * (LINES_MAX + 1), f"at most {LINES_MAX} lines"),
    "src/loose/a.cpp": ("", "holds sources but declares no module"),
}


def check_the_checks():
    """What the rules miss, or find where nothing is, in the planted tree."""
    with tempfile.TemporaryDirectory() as folder:
        for path, (text, _) in PLANTED.items():
            file = Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        problems, _, _ = check_tree(Path(folder).resolve())
    for path, (_, expected) in PLANTED.items():
        where = str(Path(path).parent) if path.startswith("src/loose") else path
        said = [p for p in problems if p.startswith(where + ":")]
        if expected is None and said:
            yield f"{path}: is as it should be, and yet: {said}"
        if expected and not any(expected in p for p in said):
            yield f"{path}: '{expected}' was not found, but {said}"


def main():
    missed = list(check_the_checks())
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    problems, files, modules = check_tree(root)
    for problem in missed + problems:
        print(problem)
    print(f"{files} files of {modules} modules: {len(problems)} problems; the checks themselves: {len(missed)}")
    return 1 if missed or problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
