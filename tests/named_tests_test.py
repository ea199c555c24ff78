#!/usr/bin/env python3
"""The tables of rules and promises name tests that exist, mutations that exist, and every rule of object disks has a test and a mutation
with its number in the name. Usage: named_tests_test.py [ROOT]"""

import pathlib
import re
import sys

TABLES = ("docs/internals/disk-rules.md", "docs/internals/disk-promises.md")
TEST = re.compile(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", re.MULTILINE)
RULES = [*range(1, 11), 13]  # 11 and 12 are about volumes


def tests_in(root):
    sources = [p for folder in ("src", "tests") for p in (root / folder).rglob("*.cpp")]
    return {f"{suite}.{name}" for p in sources for suite, name in TEST.findall(p.read_text())}


def problems_of(table, root, tests, files, mutations):
    for number, line in enumerate((root / table).read_text().splitlines(), 1):
        if not line.startswith("|"):
            continue
        for name in re.findall(r"`([^`]+)`", line):
            start = re.sub(r"(\*|\.\.\.)$", "", name)
            if re.fullmatch(r"[A-Z]\w*\.\w*", start):
                is_there = start in tests if start == name else any(test.startswith(start) for test in tests)
            elif re.fullmatch(r"\w+\.(py|sh|cpp|h)", name):
                is_there = name in files
            elif re.fullmatch(r"[a-z]+\w*_\w+", name):
                is_there = name in mutations
            else:
                continue
            if not is_there:
                yield f"{table}:{number}: there is no {name}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    tests = tests_in(root)
    files = {p.name for folder in ("src", "tests") for p in (root / folder).rglob("*.*")}
    mutations = {p.stem for p in (root / "tests/mutate/mutations").glob("*.txt")}
    problems = [problem for table in TABLES for problem in problems_of(table, root, tests, files, mutations)]
    for rule in RULES:
        if not any(f"Rule{rule:02}" in test for test in tests):
            problems.append(f"no test has Rule{rule:02} in its name")
        if not any(mutation.startswith(f"rule{rule:02}_") for mutation in mutations):
            problems.append(f"no mutation of rule {rule}")
    for problem in problems:
        print(problem)
    print(f"{len(tests)} tests, {len(mutations)} mutations: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
