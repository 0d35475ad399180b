#!/usr/bin/env python
"""Attack Tentpole with bad inputs, edited folders, killed workers, races and moves; count what it should not do.

Each case says what is right: refused with a message that names the file, key or value, or taken. It runs in a sandbox
of its own, in a fork of this process. Counted per kind: raw tracebacks, cases without an end, wrong input that is taken
without a word, right input that is refused, refusals that do not say what is wrong, files written outside the folder,
labels lost, and labels computed twice. None of them may be; exit status 1 where one is.

    python scripts/attack.py                          everything: about an hour on two cores
    python scripts/attack.py --short                  a few of each kind: half a minute
    python scripts/attack.py --kinds pools,models     some kinds
    python scripts/attack.py --match "lock"           the cases with this in their name
    python scripts/attack.py --list                   only their names

Prints each failure as it is found, a table, and JSON as its last line.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from attack_bench import FAULTS, Case, Found, run_all, warm_up

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def all_cases(kills: int) -> list[Case]:
    """Every case there is, `kills` kills of each kind of worker."""
    import attack_folders  # these import numpy, whose threads must have been counted
    import attack_inputs
    import attack_pools
    import attack_processes

    found: list[Case] = []
    for cases in (attack_inputs.cases(), attack_pools.cases(), attack_folders.cases(), attack_processes.cases(kills)):
        found += cases
    names = Counter(case.title for case in found)
    assert max(names.values()) == 1, [name for name, number in names.items() if number > 1]
    return found


def chosen(cases: list[Case], options: argparse.Namespace) -> list[Case]:
    """Those that the command line asks for."""
    kinds = options.kinds.split(",") if options.kinds else []
    unknown = set(kinds) - {case.kind for case in cases}
    if unknown:
        sys.exit(f"unknown kinds {unknown}; there are {sorted({case.kind for case in cases})}")
    return [
        case
        for case in cases
        if (case.short or not options.short) and (not kinds or case.kind in kinds) and options.match in case.title
    ]


def table(counts: dict[str, Counter[str]]) -> str:
    """Kinds by faults."""
    columns = ("cases", "kills", "good", *FAULTS)
    lines = [f"{'':<14}" + "".join(f"{name:>11}" for name in columns)]
    for kind, count in counts.items():
        lines.append(f"{kind:<14}" + "".join(f"{count[name]:>11}" for name in columns))
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--kinds", default="", help="some of them, with commas between")
    parser.add_argument("--match", default="", help="part of a case's name")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--kills", type=int, default=0, help="of each kind of worker [40; short: 1]")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for a case")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--folder", type=Path, help="where to work [a temporary folder]")
    parser.add_argument("--said", action="store_true", help="print what each case said")
    options = parser.parse_args()
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    os.environ |= dict.fromkeys(threads, "1")  # forks of a process with threads may hang
    os.environ |= {"COLUMNS": "250", "PYTHONWARNINGS": "ignore"}
    cases = chosen(all_cases(options.kills or (1 if options.short else 40)), options)
    if options.list:
        print("\n".join(f"{case.title} ({case.expect})" for case in cases))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="attack-"))
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "linux":  # workers that outlive a killed driver come to this process, which ends them
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    counts: dict[str, Counter[str]] = {case.kind: Counter() for case in cases}
    began = time.monotonic()
    warm_up()
    failures: list[str] = []
    for number, found in enumerate(run_all(cases, folder, options.limit, options.jobs), 1):
        count_in(counts[found.case.kind], found)
        failures += tell(found, options.said)
        if number % 50 == 0 or number == len(cases):
            print(f"[{time.monotonic() - began:.0f} s] {number} of {len(cases)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    print(table(counts))
    faulty = sum(count[fault] for count in counts.values() for fault in FAULTS)
    facts = {
        "cases": len(cases),
        "faults": faulty,
        "seconds": round(time.monotonic() - began, 1),
        "kinds": {
            kind: {name: count[name] for name in ("cases", "kills", "good", *FAULTS)} for kind, count in counts.items()
        },
        "failures": failures,
    }
    print(json.dumps(facts))
    sys.exit(1 if faulty or not cases else 0)


def count_in(counter: Counter[str], found: Found) -> None:
    """One case into the counts of its kind."""
    counter["cases"] += 1
    counter["good"] += not found.faults
    counter["kills"] += found.kills
    for fault in {words.split(":")[0] for words in found.faults}:
        counter[fault] += 1


def tell(found: Found, said: bool) -> list[str]:
    """Print what was wrong with a case, if anything."""
    lines = [f"{found.case.title}: {fault}" for fault in found.faults]
    for line in lines:
        print(f"FAILED {line}  ({found.seconds:.1f} s)", flush=True)
    if said:
        print(f"--- {found.case.title}: status {found.status}, {found.seconds:.1f} s\n{found.said}", flush=True)
    return lines


if __name__ == "__main__":
    main()
