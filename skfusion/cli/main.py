"""Command-line interface: ``skfusion demo | compare | cache``.

The commands call the public functions. Large packages are imported only when a command
needs them.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import skfusion

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["main"]


# Errors that the user can correct. All others are reported as program errors.
USER_ERRORS = (ValueError, TypeError, OSError, ImportError)
# The limit bounds memory, because every worker has its own copy of cohort and network.
MOST_JOBS = 4
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command-line interface.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments without the program name. None uses the arguments of the process.

    Returns
    -------
    int
        Exit code: 0 for success, 1 for a program error, 2 for an error that the user
        can correct, 130 after an interrupt.

    Examples
    --------
    >>> from skfusion.cli.main import main
    >>> main(["cache", "prune", "--max-size", "2GB", "--path", "no/such/folder"])
    2
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        with _warnings_in_a_line():
            arguments.run(arguments)
    except KeyboardInterrupt:
        print("skfusion: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        expected = isinstance(error, USER_ERRORS)
        kind = "" if expected else f"{type(error).__name__}: "
        hint = "" if expected else " (run again with --debug to show the traceback)"
        text = " ".join(str(error).split())
        print(f"skfusion: error: {kind}{text}{hint}", file=sys.stderr)
        return 2 if expected else 1
    return 0


# -- arguments ------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skfusion",
        description="Fuse medical images with electronic health records.",
    )
    version = f"skfusion {skfusion.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )
    # Without SUPPRESS, the default of a subcommand overrides --debug before its name.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_demo(commands, common)
    _add_compare(commands, common)
    _add_cache(commands, common)
    return parser


def _add_demo(commands: Any, common: argparse.ArgumentParser) -> None:
    demo = commands.add_parser(
        "demo",
        parents=[common],
        help="compare strategies on the lung nodules of LIDC-IDRI",
        description="Compare each modality alone with early, late and joint fusion on "
        "the nodules of LIDC-IDRI. The images are outlines drawn by radiologists, and "
        "the EHR modality describes scan and reading. The outcome is malignancy, and "
        "the folds are grouped by patient.",
    )
    _add_run_options(demo, out="skfusion_demo.html")
    _add_strategies(demo)
    demo.add_argument(
        "--quick",
        action="store_true",
        help="use a sixth of the patients, 3 folds and one repetition, without "
        "p-values, as a trial run only",
    )
    demo.set_defaults(run=_demo)


def _add_compare(commands: Any, common: argparse.ArgumentParser) -> None:
    compare = commands.add_parser(
        "compare",
        parents=[common],
        help="compare strategies on a cohort table",
        description="Compare each modality alone with early, late and joint fusion. "
        "The table has one row per case. Image columns contain paths of files or of "
        "folders with a DICOM series. Relative paths are looked up from the folder of "
        "the table.",
    )
    add = compare.add_argument
    add("table", metavar="cohort.csv", help="cohort table (.csv or .tsv)")
    add(
        "--image",
        action="append",
        default=[],
        metavar="COL",
        help="column of image paths, relative to the folder of the table or absolute; "
        "one modality per column (repeatable)",
    )
    add("--target", required=True, metavar="COL", help="outcome column")
    add("--groups", metavar="COL", help="column of patient ids")
    add(
        "--ehr",
        nargs="+",
        action="extend",
        metavar="COL",
        help="EHR columns (default: all other columns except identifiers)",
    )
    add(
        "--drop",
        nargs="+",
        action="extend",
        default=[],
        metavar="COL",
        help="columns to exclude",
    )
    add("--task", choices=["auto", "classification", "regression"], default="auto")
    add("--pos-label", metavar="LABEL", help="positive class of two classes")
    add("--cv", type=int, metavar="K", help="number of folds (default: 5)")
    add("--test", metavar="PART", help="one test set: a fraction or after:DATE")
    add("--time", metavar="COL", help="column of dates for --test after:DATE")
    add("--sites", metavar="COL", help="column of sites, held out one at a time")
    add(
        "--scoring",
        nargs="+",
        metavar="SCORE",
        help="scores, the primary one first (default: roc_auc average_precision brier)",
    )
    _add_strategies(compare)
    add("--primary", metavar="NAME", help="fusion of which alone a claim is made")
    add("--smallest-gain", type=float, metavar="G", help="smallest gain that matters")
    add("--margin", type=float, metavar="M", help="declared margin of equivalence")
    add(
        "--quick",
        action="store_true",
        help="one repetition without p-values, as a trial run only",
    )
    _add_run_options(compare, out="skfusion_report.html")
    compare.set_defaults(run=_compare)


def _add_strategies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strategies",
        nargs="+",
        choices=["single", "early", "late", "joint"],
        metavar="NAME",
        help="some of single, early, late and joint (default: all)",
    )


def _add_run_options(parser: argparse.ArgumentParser, *, out: str) -> None:
    add = parser.add_argument
    add(
        "--repeats",
        type=int,
        metavar="R",
        help="repetitions of the folds (default: 10, fewer if slow)",
    )
    add("--checkpoint", metavar="FOLDER", help="folder to continue a run from")
    add("--out", default=out, metavar="FILE", help=f"report file (default: {out})")
    add("--seed", type=int, default=0, help="seed of folds and models (default: 0)")
    add(
        "--n-jobs",
        type=int,
        default=min(os.cpu_count() or 1, MOST_JOBS),
        metavar="N",
        help=f"parallel fits (default: one per core, at most {MOST_JOBS})",
    )


def _add_cache(commands: Any, common: argparse.ArgumentParser) -> None:
    cache = commands.add_parser(
        "cache", help="show or reduce cached embeddings, events and event features"
    )
    actions = cache.add_subparsers(dest="action", metavar="ACTION", required=True)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--path", metavar="FOLDER", help="folder of a store other than the default"
    )
    parents = [common, where]
    actions.add_parser("info", parents=parents, help="show path, entries and size")
    actions.add_parser(
        "clear", parents=parents, help="remove all embeddings, events and features"
    )
    prune = actions.add_parser(
        "prune", parents=parents, help="remove the least recently used embeddings"
    )
    prune.add_argument(
        "--max-size",
        type=_size,
        required=True,
        metavar="SIZE",
        help="maximum size after removal, e.g. 500MB or 2GB",
    )
    cache.set_defaults(run=_cache)


def _size(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size. Use a format such as 500MB or 2GB."
        )
    return int(float(match[1]) * UNITS[match[2].upper()])


# -- commands -------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> None:
    _check_report(arguments.out)
    import numpy as np

    from skfusion import ImageEmbedder, TabularEncoder
    from skfusion.datasets import load_lidc_nodules

    _say("Reading the annotations of LIDC-IDRI and drawing the outlines ...")
    lidc = load_lidc_nodules()
    X, y = lidc.data, lidc.target
    if arguments.quick:
        patients = np.unique(lidc.groups)
        rng = np.random.default_rng(arguments.seed)
        kept = rng.choice(patients, len(patients) // 6, replace=False)
        rows = np.flatnonzero(np.isin(lidc.groups, kept))
        X, y = X.iloc[rows].reset_index(drop=True), y[rows]
    modalities = [
        ("image", ImageEmbedder(), lidc.image_columns[0]),
        ("ehr", TabularEncoder(), lidc.ehr_columns),
    ]
    _say(f"{len(y)} nodules of {X[lidc.group_column].nunique()} patients.")
    _run(
        modalities,
        X,
        y,
        arguments,
        title="Lung nodules of LIDC-IDRI: does fusion help?"
        + (" Trial run on a sixth of the patients" if arguments.quick else ""),
        groups=lidc.group_column,
        cv=3 if arguments.quick else 5,
        quick=arguments.quick,
    )


def _compare(arguments: argparse.Namespace) -> None:
    _check_report(arguments.out)
    from skfusion import ImageEmbedder, TabularEncoder
    from skfusion.cli.tables import check_columns, read_cohort, resolve_paths

    X = read_cohort(arguments.table)
    check_columns(
        X,
        {
            "--target": [arguments.target],
            "--groups": [arguments.groups] if arguments.groups else [],
            "--time": [arguments.time] if arguments.time else [],
            "--sites": [arguments.sites] if arguments.sites else [],
            "--image": arguments.image,
            "--ehr": arguments.ehr or [],
            "--drop": arguments.drop,
        },
    )
    ehr = _ehr_columns(X, arguments)
    y = X[arguments.target]
    for column in arguments.image:
        X[column] = resolve_paths(X[column], Path(arguments.table).parent)
    modalities: list[Any] = [(name, ImageEmbedder(), name) for name in arguments.image]
    if ehr:
        name = "ehr" if "ehr" not in arguments.image else "ehr_table"
        modalities.append((name, TabularEncoder(), ehr))
    _run(
        modalities,
        X.drop(columns=arguments.target),
        y,
        arguments,
        title=None,
        groups=arguments.groups,
        cv=arguments.cv,
        task=arguments.task,
        pos_label=_label(arguments.pos_label, y),
        test=_part(arguments.test),
        time=arguments.time,
        sites=arguments.sites,
        scoring=arguments.scoring,
        primary=arguments.primary,
        smallest_gain=arguments.smallest_gain,
        margin=arguments.margin,
        quick=arguments.quick,
    )


def _label(text: str | None, y: pd.Series) -> Any:
    """Return the class of the table that an option names."""
    if text is None:
        return None
    found = [label for label in y.unique() if str(label) == text]
    return found[0] if found else text


def _part(text: str | None) -> Any:
    """Return a fraction as a number, and other text as it is."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _cache(arguments: argparse.Namespace) -> None:
    from skfusion.store.embedding_store import EmbeddingStore, default_store_path
    from skfusion.store.working_folders import remove_abandoned_temporary

    path = Path(arguments.path or default_store_path())
    n_abandoned = remove_abandoned_temporary()
    if n_abandoned:
        print(f"{n_abandoned} temporary folders of killed processes removed")
    removed = _event_cache(path, arguments.action) if path.is_dir() else []
    if arguments.path and not path.is_dir():
        raise FileNotFoundError(f"folder {arguments.path!r} does not exist")
    if not path.is_dir():
        print(f"{path}: the store is empty")
        return
    store = EmbeddingStore(path)
    facts = store.info()
    if arguments.action == "clear":
        store.clear()
    elif arguments.action == "prune":
        n_removed = store.prune(arguments.max_size)
    left = store.info()
    for line in removed:
        print(line)
    if left["in_memory"]:  # A previous warning reports the cause.
        raise OSError(f"the store in {path} cannot be used and was not changed")
    if arguments.action == "clear":
        print(f"{path}: {facts['entries']} embeddings removed")
    elif arguments.action == "prune":
        kept = f"{left['entries']} left ({_megabytes(left['bytes'])})"
        print(f"{path}: {n_removed} embeddings removed, {kept}")
    else:
        print(f"folder:    {path}")
        print(f"entries:   {facts['entries']}")
        print(f"size:      {_megabytes(facts['bytes'])}")
        print(f"computed:  {facts['computed']} since the store was created")


def _event_cache(path: Path, action: str) -> list[str]:
    """Show or remove the events and event features below a cache folder."""
    from skfusion.ehr.events.folders import cached_folders, folder_size, take_away
    from skfusion.store.working_folders import remove_abandoned

    lines = []
    for kind, what in (("events", "event stores"), ("windows", "prepared features")):
        remove_abandoned(path / kind)
        folders, unfinished = cached_folders(path / kind)
        size = _megabytes(sum(map(folder_size, folders + unfinished)))
        being_written = f", {len(unfinished)} being written" * bool(unfinished)
        if action == "clear":
            size = _megabytes(sum(map(folder_size, folders)))
            for folder in folders:
                take_away(folder)
            if folders:
                lines.append(f"{path / kind}: {len(folders)} {what} removed ({size})")
            if unfinished:
                lines.append(f"{path / kind}: {len(unfinished)} left, being written")
        elif action == "info" or folders or unfinished:
            note = ", removed by 'skfusion cache clear' only" * (action == "prune")
            lines.append(
                f"{kind + ':':<10} {len(folders)} {what}{being_written}, {size}{note}"
            )
    return lines


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"


# -- the comparison -------------------------------------------------------------------


def _run(
    modalities: list[Any],
    X: pd.DataFrame,
    y: Any,
    arguments: argparse.Namespace,
    *,
    title: str | None,
    **options: Any,
) -> None:
    """Compare the strategies, print the summary and write the report."""
    from sklearn.base import clone

    from skfusion import ImageEmbedder, compare_fusion
    from skfusion.evaluation.comparison.comparison import plan_comparison

    options |= {
        "random_state": arguments.seed,
        "strategies": arguments.strategies,
        "n_repeats": "auto" if arguments.repeats is None else arguments.repeats,
    }
    # Invalid input must raise an error before the images are embedded for minutes.
    plan_comparison(modalities, X, y, **options)
    for _, transformer, column in modalities:
        if isinstance(transformer, ImageEmbedder):
            # Embeddings in the store are not computed again in each fold.
            loud = clone(transformer).set_params(verbose=1)
            loud.fit_transform(X[column])
    result = compare_fusion(
        modalities,
        X,
        y,
        n_jobs=arguments.n_jobs,
        verbose=1,
        checkpoint=arguments.checkpoint,
        **options,
    )
    print(result.summary())
    result.to_html(arguments.out, title=title)
    print(f"\nReport: {Path(arguments.out).resolve()}")


def _check_report(out: str) -> None:
    """Check that the report can be written, before a long run starts."""
    from skfusion._dependencies import require

    require("jinja2", "report")
    path = Path(out)
    if path.is_dir():
        raise IsADirectoryError(f"--out: {out!r} is a folder, expected a file")
    if not path.resolve().parent.is_dir():
        raise FileNotFoundError(f"--out: the folder of {out!r} does not exist")
    if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
        raise PermissionError(f"--out: {out!r} is not writable")


def _ehr_columns(X: pd.DataFrame, arguments: argparse.Namespace) -> list[str]:
    """Return the columns of --ehr, or all columns without another purpose."""
    if arguments.ehr is not None:
        _say(f"EHR columns: {', '.join(arguments.ehr)}")
        return list(arguments.ehr)
    from skfusion.modality import find_column_roles

    taken = {arguments.target, arguments.groups, *arguments.image, *arguments.drop}
    taken |= {arguments.time, arguments.sites}
    roles = find_column_roles(X, taken)
    # The encoder of the EHR columns takes vectors.
    ehr = [column for column in X.columns if column in {*roles.ehr, *roles.vectors}]
    _say(f"EHR columns: {', '.join(ehr) or 'none'}")
    if roles.identifiers:
        _say(f"Excluded as identifiers: {', '.join(roles.identifiers)}")
    if roles.images:
        _say(f"Excluded image paths, not passed as --image: {', '.join(roles.images)}")
    for column, found in roles.left_out.items():
        _say(f"Excluded {column}, not passed as --image: {found.description}")
    return ehr


# -- messages -------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Print each warning as one line without its source line."""

    def show(message: Any, category: type[Warning], *place: Any) -> None:
        print(f"skfusion: warning: {' '.join(str(message).split())}", file=sys.stderr)

    usual = warnings.showwarning
    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = usual
