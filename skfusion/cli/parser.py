"""Arguments of the command line."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Collection
from typing import Any

import skfusion

__all__ = ["CHOICES", "make_parser"]


UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
STRATEGIES = ("single", "early", "late", "joint")
#: Values of the options that settle problems of a table, by key.
CHOICES = {
    "infinite": ("as-missing",),
    "text_numbers": ("parse", "as-missing"),
    "dates": ("day-first", "month-first"),
    "decimal": (".", ","),
    "missing_images": ("absent",),
    "unreadable_images": ("absent",),
    "missing_outcome": ("drop",),
    "outcome_case": ("merge",),
    "missing_groups": ("drop",),
    "id_case": ("merge", "keep"),
    "duplicate_columns": ("number",),
    "bad_lines": ("skip",),
    "task": ("auto", "classification", "regression"),
    "engine": ("auto", "torch", "openvino"),
}
EXIT_CODES = """\
exit codes:
  0    done
  1    the run failed
  2    wrong use, or problems in the table; nothing was computed
  130  interrupted
"""
TABLE_TEXT = (
    "The table has one row per case and a header. It is a CSV, TSV, Parquet, Feather "
    "or Excel (.xlsx) file, or the gzip file of one. Image columns contain paths of "
    "files or of folders with a DICOM series. Relative paths are looked up from the "
    "folder of the table. The whole table is checked before anything is computed. All "
    "problems are listed together, each with the option that settles it."
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Returns
    -------
    ArgumentParser

    Examples
    --------
    >>> from skfusion.cli.parser import make_parser
    >>> make_parser().parse_args(["cache", "info"]).action
    'info'
    """
    parser = argparse.ArgumentParser(
        prog="skfusion",
        description="Fuse medical images with electronic health records.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    _add_explain(commands, common)
    _add_predict(commands, common)
    _add_audit(commands, common)
    _add_advise(commands, common)
    _add_embed(commands, common)
    _add_cache(commands, common)
    return parser


def _add_command(
    commands: Any, name: str, common: argparse.ArgumentParser, help: str, text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        parents=[common],
        help=help,
        description=textwrap.fill(text, 79),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


# -- options that several commands have -----------------------------------------------


def _add_table(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("table").add_argument
    _add_source(add)
    add("--target", metavar="COL", help="outcome column")
    add("--groups", metavar="COL", help="column of patient ids")
    add(
        "--independent-rows",
        action="store_true",
        default=None,
        help="declare that no patient has several rows",
    )
    for option, text in (
        ("--ehr", "EHR columns (default: all others except identifiers)"),
        ("--drop", "columns to exclude"),
        ("--categories", "columns of categories, although they look like numbers"),
    ):
        add(option, nargs="+", action="extend", metavar="COL", help=text)
    add("--index-time", metavar="COL", help="column of the time of each prediction")
    _add_format(add)
    _add_remedies(parser)


def _add_source(add: Callable[..., Any]) -> None:
    """Add the table, the file of settings and the image columns."""
    add("table", nargs="?", metavar="TABLE", help="cohort table, e.g. cohort.csv")
    add("--config", metavar="FILE", help="TOML file of settings; options override it")
    add(
        "--image",
        action="append",
        metavar="COL",
        help="column of image paths, one modality per column (repeatable)",
    )


def _add_format(add: Callable[..., Any]) -> None:
    """Add the options on the file of a table."""
    add("--encoding", metavar="NAME", help="encoding of a text file, or 'mixed'")
    add("--separator", metavar="CHAR", help="separator of the fields of a text file")
    add("--skip-lines", type=int, metavar="N", help="lines above the header")
    add("--sheet", metavar="NAME", help="sheet of an Excel file (default: the first)")


def _add_remedies(
    parser: argparse.ArgumentParser, keys: Collection[str] = tuple(CHOICES)
) -> None:
    add = parser.add_argument_group(
        "how problems of the table are settled"
    ).add_argument
    for key, text in (
        ("infinite", "infinite numbers"),
        ("text_numbers", "text among numbers, such as '> 89' or '12,5'"),
        ("dates", "dates whose day and month can be exchanged"),
        ("decimal", "decimal separator (default: found in the table)"),
        ("missing_images", "image files that do not exist"),
        ("unreadable_images", "files that are no images"),
        ("missing_outcome", "rows without an outcome"),
        ("outcome_case", "classes that differ in capital letters only"),
        ("missing_groups", "rows without a patient id or a site"),
        ("id_case", "ids that differ in capital letters only"),
        ("duplicate_columns", "names of columns that occur more than once"),
        ("bad_lines", "lines with more fields than the header"),
    ):
        if key not in keys:
            continue
        values = CHOICES[key]
        option = f"--{key.replace('_', '-')}"
        add(option, choices=values, metavar="|".join(values), help=text)


def _add_outcome(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--task", choices=CHOICES["task"])
    add(
        *("--positive", "--pos-label"),
        dest="pos_label",
        metavar="LABEL",
        help="positive class of two classes",
    )


def _add_strategies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strategies",
        nargs="+",
        choices=STRATEGIES,
        metavar="NAME",
        help="some of single, early, late and joint (default: all)",
    )


def _add_design(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--cv", type=int, metavar="K", help="number of folds (default: 5)")
    add("--test", metavar="PART", help="one test set: a fraction or after:DATE")
    add("--time", metavar="COL", help="column of dates for --test after:DATE")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        choices=CHOICES["engine"],
        help="what computes embeddings on a processor (default: auto, OpenVINO where "
        "it is installed and pays, unless the store has embeddings by torch)",
    )


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed",
        dest="random_state",
        type=int,
        metavar="N",
        help="seed of folds and models (default: 0)",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_seed(parser)
    parser.add_argument(
        "--n-jobs",
        type=int,
        metavar="N",
        help="parallel fits (default: one per core, at most 4)",
    )


def _add_comparison(parser: argparse.ArgumentParser, *, report: str) -> None:
    add = parser.add_argument
    add(
        "--repeats",
        dest="n_repeats",
        type=int,
        metavar="R",
        help="repetitions of the folds (default: 10, fewer if slow)",
    )
    add(
        *("--resume", "--checkpoint"),
        dest="checkpoint",
        metavar="FOLDER",
        help="folder of finished fits, from which an interrupted run goes on",
    )
    add(
        *("--html", "--out"),
        dest="html",
        metavar="FILE",
        help=f"report (default: {report})",
    )
    add("--json", metavar="FILE", help="results as JSON")
    add(
        "--save",
        metavar="FILE",
        help="results with the prediction of each row, as confidential as the table "
        "(.zip, read by skfusion.evaluation.load_comparison)",
    )
    _add_engine(parser)
    _add_run(parser)


def _add_models(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--save-model",
        nargs=2,
        action="append",
        metavar=("STRATEGY", "FILE"),
        help="fit a strategy on all rows after the comparison and write the model, "
        "e.g. late late.skfusion (repeatable)",
    )
    add(
        "--embed-weights",
        action="store_true",
        default=None,
        help="with --save-model, the weights of networks in the file, for a machine "
        "that does not have them",
    )


# -- commands -------------------------------------------------------------------------


def _add_demo(commands: Any, common: argparse.ArgumentParser) -> None:
    demo = _add_command(
        commands,
        "demo",
        common,
        "compare strategies on the lung nodules of LIDC-IDRI",
        "Compare each modality alone with early, late and joint fusion on the nodules "
        "of LIDC-IDRI. The images are outlines drawn by radiologists, and the EHR "
        "modality describes scan and reading. The outcome is malignancy, and the folds "
        "are grouped by patient.",
    )
    _add_comparison(demo, report="skfusion_demo.html")
    _add_strategies(demo)
    demo.add_argument(
        "--quick",
        action="store_true",
        help="use a sixth of the patients, 3 folds and one repetition, without "
        "p-values, as a trial run only",
    )


def _add_compare(commands: Any, common: argparse.ArgumentParser) -> None:
    compare = _add_command(
        commands,
        "compare",
        common,
        "compare strategies on a cohort table",
        "Compare each modality alone with early, late and joint fusion. " + TABLE_TEXT,
    )
    _add_table(compare)
    _add_outcome(compare)
    _add_design(compare)
    add = compare.add_argument
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
        default=None,
        help="one repetition without p-values, as a trial run only",
    )
    _add_comparison(compare, report="skfusion_report.html")
    _add_models(compare)


def _add_explain(commands: Any, common: argparse.ArgumentParser) -> None:
    explain = _add_command(
        commands,
        "explain",
        common,
        "measure the importance of the modalities",
        "Measure how much a fusion relies on each modality, and what each adds to the "
        "score, on cases that the model was not fitted on: those of each fold, or of "
        "one test set with --test. " + TABLE_TEXT,
    )
    _add_table(explain)
    _add_outcome(explain)
    _add_design(explain)
    add = explain.add_argument
    add(
        "--strategy",
        choices=STRATEGIES[1:],
        default="early",
        help="fusion to explain (default: early)",
    )
    add(
        "--refit",
        action="store_true",
        help="with --test, also fit models again on each set of modalities",
    )
    add(
        "--scoring",
        nargs="+",
        metavar="SCORE",
        help="score (default: roc_auc, r2 for a regression)",
    )
    add("--json", metavar="FILE", help="results as JSON")
    _add_engine(explain)
    _add_seed(explain)


def _add_predict(commands: Any, common: argparse.ArgumentParser) -> None:
    predict = _add_command(
        commands,
        "predict",
        common,
        "predict the rows of a table with a saved model",
        "Predict each row of a table with a model that skfusion.save wrote. The output "
        "has the rows in their order, with the modalities that each row lacks. "
        + TABLE_TEXT,
    )
    add = predict.add_argument
    add("model", metavar="MODEL", help="file of the model, e.g. model.skfusion")
    add("table", metavar="TABLE", help="table of the cases, e.g. cases.csv")
    add("--out", required=True, metavar="FILE", help="a .csv, .tsv or .parquet file")
    add(
        "--id",
        nargs="+",
        action="extend",
        metavar="COL",
        help="columns to copy to the output, e.g. the patient id (default: none)",
    )
    add(
        "--store",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="folders of embeddings and events that the model refers to",
    )
    add(
        "--trust",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="classes that the file may name in addition to those of skfusion",
    )
    add(
        "--chunk",
        type=int,
        default=1000,
        metavar="N",
        help="number of rows that are predicted and written at a time (default: 1000)",
    )
    _add_format(predict.add_argument_group("table").add_argument)
    fitting = {"missing_outcome", "outcome_case", "missing_groups", "id_case"}
    _add_remedies(predict, keys=set(CHOICES) - fitting)


def _add_audit(commands: Any, common: argparse.ArgumentParser) -> None:
    audit = _add_command(
        commands,
        "audit",
        common,
        "search a table for leakage",
        "Search a cohort table for leakage before any model is fitted: patients on "
        "both sides of a fold, copies of rows and images, and columns that tell the "
        "outcome or the patient. All columns of the table are searched. " + TABLE_TEXT,
    )
    _add_table(audit)
    _add_outcome(audit)
    add = audit.add_argument
    add("--cv", type=int, metavar="K", help="folds to check (default: none)")
    add("--sites", metavar="COL", help="column of sites (default: found by name)")
    add("--json", metavar="FILE", help="findings as JSON")
    _add_seed(audit)


def _add_advise(commands: Any, common: argparse.ArgumentParser) -> None:
    advise = _add_command(
        commands,
        "advise",
        common,
        "describe a cohort, and in which order to try strategies",
        "Describe a cohort by what decides which fusion to try, and give an order of "
        "attempts with reasons. It is not a ranking, which only a comparison gives. "
        + TABLE_TEXT,
    )
    _add_table(advise)
    _add_outcome(advise)
    advise.add_argument("--json", metavar="FILE", help="results as JSON")
    _add_seed(advise)


def _add_embed(commands: Any, common: argparse.ArgumentParser) -> None:
    embed = _add_command(
        commands,
        "embed",
        common,
        "embed the images of a table into a store",
        "Embed the images of a table once, so that every later command and model finds "
        "them in the store. An interrupted run goes on where it was. Several processes "
        "or machines each embed one shard, in any order: --shard 1/64 to --shard 64/64 "
        "with --segments in a shared folder. " + TABLE_TEXT,
    )
    add = embed.add_argument_group("table").add_argument
    _add_source(add)
    _add_format(add)
    add = embed.add_argument_group("network").add_argument
    add("--backbone", metavar="NAME", help="network, e.g. resnet18 or hf:ORG/NAME")
    add("--weights", metavar="FILE", help="state dict, or a name of weights")
    add("--input-size", type=int, metavar="PIXELS", help="height and width of inputs")
    add(
        "--engine",
        choices=CHOICES["engine"][1:],
        help="what computes the embeddings (default: torch, whose embeddings Python "
        "finds with the usual parameters)",
    )
    add("--n-jobs", type=int, metavar="N", help="threads that read images")
    add = embed.add_argument_group("store").add_argument
    add("--store", metavar="FOLDER", help="folder of the store (default: the cache)")
    add("--shard", type=shard, metavar="I/N", help="embed part I of N only")
    add(
        "--segments",
        action="store_true",
        help="write files that need no locks, for a folder on a network",
    )
    keys = ("missing_images", "unreadable_images", "duplicate_columns", "bad_lines")
    _add_remedies(embed, keys)


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
    actions.add_parser(
        "merge", parents=parents, help="join small segments, and drop repetitions"
    )
    actions.add_parser(
        "verify", parents=parents, help="compare the checksums of all segments"
    )
    prune = actions.add_parser(
        "prune", parents=parents, help="remove the least recently used embeddings"
    )
    prune.add_argument(
        "--max-size",
        type=size,
        required=True,
        metavar="SIZE",
        help="maximum size after removal, e.g. 500MB or 2GB",
    )


def shard(text: str) -> tuple[int, int]:
    """Return the number of a shard and of all shards, written as ``"3/64"``.

    Examples
    --------
    >>> from skfusion.cli.parser import shard
    >>> shard("3/64")
    (3, 64)
    """
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a shard. Use I/N with I from 1 to N, such as 1/64 to "
            "64/64."
        )
    return int(match[1]), int(match[2])


def size(text: str) -> int:
    """Return a number of bytes, written as ``"500MB"`` or ``"2GB"``.

    Examples
    --------
    >>> from skfusion.cli.parser import size
    >>> size("1.5 kb")
    1500
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size. Use a format such as 500MB or 2GB."
        )
    return int(float(match[1]) * UNITS[match[2].upper()])
