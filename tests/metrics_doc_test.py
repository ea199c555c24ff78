#!/usr/bin/env python3
"""docs/metrics.md has a row for every metric that ebb-diskd exports, with its labels, and for no other. Usage: metrics_doc_test.py [ROOT]"""

import pathlib
import re
import sys

SOURCE, PAGE = "src/disk/daemon_metrics.cpp", "docs/metrics.md"
ROW = re.compile(r"^\| `(ebb_\w+)` \|(.*?)\|", re.MULTILINE)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    source = (root / SOURCE).read_text()
    exported = {name: "" for name in re.findall(r'"(ebb_\w+)"', source)}
    exported |= {name: "`disk`" for name in re.findall(r'add_of_disks\(registry, status, "(ebb_\w+)"', source)}
    exported["ebb_disks"] = "`state`"
    told = {name: labels.strip() for name, labels in ROW.findall((root / PAGE).read_text())}
    wrong = [f"{PAGE} tells nothing of {name}" for name in exported if name not in told]
    wrong += [f"{PAGE} tells of {name}, which {SOURCE} does not export" for name in told if name not in exported]
    wrong += [f"{PAGE}: {name} has the labels '{exported[name]}', not '{labels}'" for name, labels in told.items()
              if exported.get(name, labels) != labels]
    print("\n".join(wrong) or f"{len(told)} metrics")
    sys.exit(bool(wrong))


main()
