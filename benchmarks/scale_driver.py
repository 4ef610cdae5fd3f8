"""What a part costs the one process that directs a job on Ray.

Two jobs of the same rows, one in tiny parts and one in large ones, each in a process of its own:
the processor time of that process apart (its children, which read and score, do not count), by the
number of parts apart. Processor time hardly depends on what else runs.

    python benchmarks/scale_driver.py --bundle BUNDLE --data FILE --work FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PART_ROWS = (1, 1_000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both jobs and print what a part costs; with --part-rows, run one and print its time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part-rows", type=int)
    told = parser.parse_args(arguments)
    if told.part_rows:
        _run(told.bundle, told.data, told.work, told.part_rows)
        return
    seconds, parts = [], []
    for rows in PART_ROWS:
        output = told.work / f"rows-{rows}"
        shutil.rmtree(output, ignore_errors=True)
        command = [sys.executable, __file__, "--bundle", told.bundle, "--data", told.data]
        command += ["--work", str(output), "--part-rows", str(rows)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        seconds.append(float(done.stdout.splitlines()[-1]))
        parts.append(json.loads((output / "summary.json").read_text("utf-8"))["parts"])
        print(rows, "rows a part:", parts[-1], "parts,", seconds[-1], "s of the driver", flush=True)
    a_part = (seconds[0] - seconds[1]) / (parts[0] - parts[1])
    print(json.dumps({"driver_seconds": round(a_part, 5), "parts_per_second": round(1 / a_part)}))


def _run(bundle: str, data: str, output: Path, rows: int) -> None:
    from longform.cli.app import main as longform

    line = ["predict", bundle, "--input", data, "--output", str(output)]
    line += ["--engine", "ray", "--part-rows", str(rows)]
    if longform(line):
        raise SystemExit("the job failed")
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
