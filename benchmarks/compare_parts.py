"""CPU seconds of ``skfusion compare`` on photos, part by part, cold and warm.

The command runs in processes of its own, on photos and eight clinical columns of
PAD-UFES-20: first with an empty store, then with the store that this left. The parts
are told apart by the functions of the command, of which each is charged for its own
time only. Times are user and system seconds of the process with one thread and one job.
Page faults and the peak of the memory are those of the whole process.

With ``--rival CHECKOUT``, the command of another checkout runs in turns. Photos are
read from ``pad_ufes_20_subset`` of SKFUSION_DATA. Without it, nothing is measured.

Run: python benchmarks/compare_parts.py [--rows 842] [--rival CHECKOUT] [-- OPTIONS]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = ["age", "region", "itch", "grew", "hurt", "changed", "bleed", "elevation"]
#: Parts by the function that does them, with its module.
PARTS = {
    "table": ("skfusion.cli.compare", "read_cohort"),
    "plan": ("skfusion.evaluation.comparison.comparison", "plan_comparison"),
    "audit": ("skfusion.cli.compare", "_leaks"),
    "embedding": ("skfusion.cli.compare", "embed"),
    "statistics": ("skfusion.evaluation.comparison.comparison", "compare_fusion"),
    "schedule of fits": ("skfusion.evaluation.comparison.comparison", "run_arms"),
    "fits": ("skfusion.evaluation.comparison.running", "fit_arm"),
    "report": ("skfusion.cli.compare", "_write"),
}


class Clock:
    """User and system seconds of this process, charged to the part that runs."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._running = ["start and imports"]
        self._last = [0.0, 0.0]

    def charge(self) -> None:
        """Charge the time since the last call to the innermost part that runs."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        now = [used.ru_utime, used.ru_stime]
        total = self.spent.setdefault(self._running[-1], [0.0, 0.0])
        total[:] = [t + n - b for t, n, b in zip(total, now, self._last, strict=True)]
        self._last = now

    def watch(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose own time is charged to a part."""

        def watched(*given: Any, **named: Any) -> Any:
            name = part if part != "fits" else f"fits: {_kind(given[0])}"
            self.charge()
            self._running.append(name)
            try:
                return function(*given, **named)
            finally:
                self.charge()
                self._running.pop()

        return watched


def _kind(arm: Any) -> str:
    return f"single ({arm.fusion})" if arm.role == "single" else str(arm.name)


def child(options: Sequence[str], out: str) -> int:
    """Run the command in this process, and write what its parts took."""
    clock = Clock()
    import torch

    torch.set_num_threads(1)
    for part, (module, name) in PARTS.items():
        place = importlib.import_module(module)
        setattr(place, name, clock.watch(part, getattr(place, name)))
    from skfusion.cli.main import main as command

    sys.argv = ["skfusion", *options]
    clock.charge()
    clock._running[-1] = "rest"
    code = command()
    clock.charge()
    used = resource.getrusage(resource.RUSAGE_SELF)
    whole = {"faults": used.ru_minflt, "MB": used.ru_maxrss / 1024}
    Path(out).write_text(json.dumps({"parts": clock.spent, **whole}))
    return code


def measured(checkout: str, options: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run the command of a checkout in a process, and return what its parts took."""
    place = {"PYTHONPATH": checkout, "SKFUSION_CACHE": str(folder / "cache")}
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    out = folder / "parts.json"
    subprocess.run(
        [sys.executable, __file__, "--child", str(out), "--", *options],
        env={**os.environ, **place, **threads},
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    return dict(json.loads(out.read_text()))


def table(rows: int, folder: Path) -> list[str]:
    """Write the table of some patients, and return the options of the command."""
    data = Path(os.environ["SKFUSION_DATA"]) / "pad_ufes_20_subset"
    frame = pd.read_csv(data / "data.csv")
    patients = frame["patient_id"].drop_duplicates().sample(frac=1, random_state=0)
    frame = frame.set_index("patient_id").loc[patients].reset_index().head(rows)
    frame["image"] = [str(data / name) for name in frame["image"]]
    frame.to_csv(folder / "cohort.csv", index=False)
    named = ["--target", "malignant", "--groups", "patient_id", "--image", "image"]
    return [
        *("compare", str(folder / "cohort.csv"), *named, "--ehr", *COLUMNS),
        *("--quick", "--n-jobs", "1", "--html", str(folder / "report.html")),
    ]


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=842)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--rival", help="folder of another checkout")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("options", nargs="*", help="further options of compare")
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments.options, arguments.child)
    if "SKFUSION_DATA" not in os.environ:
        print("SKFUSION_DATA is not set: nothing is measured")
        return 0
    checkouts = {"this": str(Path(__file__).parents[1])}
    checkouts |= {"rival": arguments.rival} if arguments.rival else {}
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(arguments.repeats):
        for name, checkout in checkouts.items():
            with tempfile.TemporaryDirectory() as folder:
                options = [*table(arguments.rows, Path(folder)), *arguments.options]
                for state in ("cold", "warm"):
                    result = measured(checkout, options, Path(folder))
                    found.setdefault(f"{name}, {state}", []).append(result)
    print(f"{platform.machine()}, Python {platform.python_version()}, 1 thread")
    print(f"{arguments.rows} photos, {arguments.repeats} times in turns")
    _show(found)
    return 0


def _show(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print medians of user and system seconds, and of the whole processes."""
    print("| part | " + " | ".join(found) + " |")
    print("| --- |" + " --- |" * len(found))
    parts = dict.fromkeys(
        part for runs in found.values() for run in runs for part in run["parts"]
    )
    for part in parts:
        spent = [
            [run["parts"].get(part, [0.0, 0.0]) for run in runs]
            for runs in found.values()
        ]
        _print_row(part, [_seconds(runs) for runs in spent])
    totals = [
        [
            [sum(part[k] for part in run["parts"].values()) for k in (0, 1)]
            for run in runs
        ]
        for runs in found.values()
    ]
    _print_row("all, user + system s", [_seconds(runs) for runs in totals])
    for label, key, scale in (
        ("million page faults", "faults", 1e6),
        ("peak, MB", "MB", 1.0),
    ):
        values = [[run[key] / scale for run in runs] for runs in found.values()]
        _print_row(label, [f"{statistics.median(runs):.2f}" for runs in values])


def _seconds(runs: list[list[float]]) -> str:
    """Return the medians of user and system seconds as text."""
    medians = [statistics.median(values) for values in zip(*runs, strict=True)]
    return " + ".join(f"{value:.1f}" for value in medians)


def _print_row(label: str, cells: list[str]) -> None:
    print(f"| {label} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
