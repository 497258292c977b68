"""Command ``skfusion demo``: the comparison on the lung nodules of LIDC-IDRI."""

from __future__ import annotations

import argparse

import numpy as np

from skfusion.cli.cohort import Cohort
from skfusion.cli.compare import run_comparison
from skfusion.cli.console import say
from skfusion.cli.settings import check_outputs, engine_asked_for
from skfusion.cli.tables.columns import Findings

__all__ = ["run"]


QUICK_SHARE = 6  # one in so many patients
# Training the last block of the network takes most of the time. Three repetitions of
# joint fusion, on the drawings as they are instead of enlarged to 224 pixels, fit into
# eight minutes on two cores. The report states both.
REPEATS = {"joint": 3}
IMAGE_SIZE = 128
TITLE = "Lung nodules of LIDC-IDRI: does fusion help?"


def run(arguments: argparse.Namespace) -> None:
    """Compare the strategies on the nodules and write the report.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line.
    """
    outputs = {
        "html": arguments.html or "skfusion_demo.html",
        "json": arguments.json,
        "save": arguments.save,
    }
    check_outputs(outputs, {})
    seed = 0 if arguments.random_state is None else arguments.random_state
    say("Reading the annotations of LIDC-IDRI and drawing the outlines ...")
    cohort, n_patients = _cohort(seed, quick=bool(arguments.quick))
    engine = engine_asked_for({"engine": arguments.engine or "auto"}, {})
    if engine is not None:
        cohort.modalities[0][1].set_params(engine=engine)
        cohort.engine_is_given = frozenset({cohort.modalities[0][0]})
    say(f"{len(cohort.X)} nodules of {n_patients} patients.")
    options = {
        "groups": cohort.groups,
        "cv": 3 if arguments.quick else 5,
        "quick": bool(arguments.quick),
        "random_state": seed,
        "strategies": arguments.strategies,
        "n_repeats": arguments.n_repeats or _repeats(arguments.strategies),
        "checkpoint": arguments.checkpoint,
    }
    if arguments.n_jobs is not None:
        options["n_jobs"] = arguments.n_jobs
    part = ". Trial run on a sixth of the patients" if arguments.quick else ""
    run_comparison(cohort, options, outputs, title=TITLE + part, audit=False)


def _repeats(strategies: list[str] | None) -> dict[str, int]:
    """Return the repetitions of the fusions that are compared."""
    return {k: n for k, n in REPEATS.items() if strategies is None or k in strategies}


def _cohort(seed: int, *, quick: bool) -> tuple[Cohort, int]:
    """Return the nodules, or those of a sixth of the patients, and the patients."""
    from skfusion import ImageEmbedder, TabularEncoder
    from skfusion.datasets import load_lidc_nodules

    lidc = load_lidc_nodules(image_size=IMAGE_SIZE)
    X, y = lidc.data, lidc.target
    if quick:
        patients = np.unique(lidc.groups)
        rng = np.random.default_rng(seed)
        kept = rng.choice(patients, len(patients) // QUICK_SHARE, replace=False)
        rows = np.flatnonzero(np.isin(lidc.groups, kept))
        X, y = X.iloc[rows].reset_index(drop=True), y[rows]
    modalities = [
        ("image", ImageEmbedder(input_size=IMAGE_SIZE), lidc.image_columns[0]),
        ("ehr", TabularEncoder(), lidc.ehr_columns),
    ]
    column = lidc.group_column
    cohort = Cohort(X, y, modalities, column, "the demo", Findings())
    return cohort, int(X[column].nunique())
