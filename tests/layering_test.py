#!/usr/bin/env python3
"""Holds the tree against the levels: who may include whom, which libraries stay inside, how long a file may be.

The link tests catch what links; this catches headers, which do not. Usage: layering_test.py [ROOT]; prints every
violation as path:line: text and exits 1 if there is one.
"""
import re
import sys
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


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    tree = Tree(root)
    files = sorted(p for p in (root / "src").rglob("*") if p.suffix in (".h", ".cpp", ".c"))
    undeclared = {p.relative_to(root / "src").parts[0] for p in files if not tree.module_of(p.relative_to(root / "src"))}
    problems = [f"src/{folder}: holds sources but declares no module" for folder in sorted(undeclared)]
    for path in files:
        if tree.module_of(path.relative_to(root / "src")):
            problems.extend(check_file(path, tree))
    for problem in problems:
        print(problem)
    print(f"{len(files)} files of {len(tree.folders)} modules: {len(problems)} problems")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
