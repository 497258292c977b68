"""Command ``skfusion compare``: fusion strategies on a cohort table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skfusion._dependencies import require
from skfusion._validation import did_you_mean
from skfusion.cli.cohort import Cohort, read_cohort
from skfusion.cli.console import (
    is_terminal,
    progress_level,
    say,
    show,
    write_json,
)
from skfusion.cli.problems import RunError, failures_of_the_run, option
from skfusion.cli.settings import (
    COMPARE_KEYS,
    check_outputs,
    files_of_models,
    read_settings,
)

if TYPE_CHECKING:
    from skfusion.evaluation.guidelines.findings import Finding

__all__ = [
    "check_strategies",
    "comparison_options",
    "default_jobs",
    "embed",
    "run",
    "run_comparison",
    "settle_engine",
    "write_models",
]


DEFAULT_REPORT = "skfusion_report.html"
# The limit bounds memory, because every worker has its own copy of cohort and network.
MOST_JOBS = 4
# Parameters of `compare_fusion` that do not belong to its plan.
OF_THE_RUN = ("checkpoint", "n_jobs")


def run(arguments: argparse.Namespace) -> None:
    """Check the table and the settings, compare, and write the results.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line.

    Raises
    ------
    ProblemsError
        If the table or a setting has a problem, before the first embedding.
    """
    settings = {"html": DEFAULT_REPORT, **read_settings(arguments)}
    check_outputs(settings, {**settings, "config": arguments.config})
    cohort = read_cohort(settings)
    options = comparison_options(settings, cohort)
    run_comparison(cohort, options, settings)


def comparison_options(settings: Mapping[str, Any], cohort: Cohort) -> dict[str, Any]:
    """Return the parameters of `compare_fusion` that settings give.

    Parameters
    ----------
    settings : mapping of str to object
        Settings of the command.
    cohort : Cohort
        Table of the command, whose classes the positive class is one of.

    Returns
    -------
    dict of str to object
    """
    options = {key: settings[key] for key in COMPARE_KEYS if key in settings}
    options["groups"] = cohort.groups
    options["description"] = cohort.description(settings.get("description"))
    options["pos_label"] = cohort.class_of(settings.get("pos_label"))
    options["test"] = _part(settings.get("test"))
    options["n_repeats"] = _repeats(settings.get("n_repeats", "auto"))
    return options


def _part(value: Any) -> Any:
    """Return a fraction as a number, and other text unchanged."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return value


def _repeats(value: Any) -> Any:
    """Return a number of repetitions, and ``"auto"`` and tables unchanged."""
    return int(value) if str(value).isdigit() else value


def run_comparison(
    cohort: Cohort,
    options: Mapping[str, Any],
    outputs: Mapping[str, Any],
    title: str | None = None,
    *,
    audit: bool = True,
) -> None:
    """Compare the strategies on a cohort, print the summary and write the results.

    Parameters
    ----------
    cohort : Cohort
        Checked cohort.
    options : mapping of str to object
        Parameters of `compare_fusion`.
    outputs : mapping of str to object
        Files to write: ``"html"``, ``"json"``, ``"save"``, and by strategy
        ``"save_model"``. ``"embed_weights"`` is whether weights are in the latter.
    title : str or None, default=None
        Heading of the report.
    audit : bool, default=True
        Whether to search the columns for leakage first, for a table that is not known.

    Raises
    ------
    ProblemsError
        If the cohort has a problem or an option is invalid, before the first embedding.
    """
    from skfusion.evaluation.comparison.comparison import (
        Plan,
        compare_fusion,
        plan_comparison,
    )
    from skfusion.evaluation.comparison.running import most_fits

    options = {"random_state": 0, **options}
    planned = {key: value for key, value in options.items() if key not in OF_THE_RUN}
    models = files_of_models(outputs.get("save_model"))

    def checked_plan() -> Plan:
        plan = plan_comparison(cohort.modalities, cohort.X, cohort.y, **planned)
        check_strategies(models, [arm.name for arm in plan.strategies])
        return plan

    plan = cohort.check(checked_plan)
    _announce(most_fits(plan.strategies, plan.design), options.get("checkpoint"))
    findings = _findings(cohort, options) if audit else []
    caveats = [options.get("description"), _caveat_of(findings)]
    if any(caveats):
        options["description"] = " ".join(filter(None, caveats))
    with failures_of_the_run():
        embed(cohort)
        result = compare_fusion(
            cohort.modalities,
            cohort.X,
            cohort.y,
            verbose=progress_level(),
            **{"n_jobs": default_jobs(), **options},
        )
        show(result.summary())
        # The report begins with the warnings of the run, those of the audit among them.
        warned = [
            f"Warning: {one.check}, {', '.join(one.columns)}: {one.found} {one.remedy}"
            for one in findings
        ]
        result = replace(result, notes_=[*result.notes_, *warned])
        _write(result, outputs, title)
        write_models(result, models, embed_weights=bool(outputs.get("embed_weights")))


def _announce(n_fits: int, checkpoint: str | None) -> None:
    """Print how much there is to do, where no progress is shown."""
    if is_terminal():
        return
    if checkpoint:
        remark = "Run the same command again to go on after an interrupt."
    else:
        remark = (
            "--resume FOLDER keeps finished ones, so that an interrupted run goes on."
        )
    say(f"{n_fits:,} fit{'s' * (n_fits != 1)} at most. {remark}")


def _findings(cohort: Cohort, options: Mapping[str, Any]) -> list[Finding]:
    """Print the errors and warnings of an audit of the columns, and return them."""
    from skfusion.evaluation import audit_cohort

    try:
        audit = audit_cohort(
            cohort.X,
            cohort.y,
            groups=cohort.groups,
            modalities=cohort.modalities,
            task=options.get("task", "auto"),
            pos_label=options.get("pos_label"),
            decode_images=False,
        )
    except (ValueError, TypeError) as error:
        say(f"{cohort.name}: no audit, because {' '.join(str(error).split())}")
        return []
    grave = [one for one in audit.findings if one.severity != "note"]
    for one in grave:
        say(f"skfusion: warning: {one.check}, {', '.join(one.columns)}: {one.found}")
    if grave:
        say("skfusion: warning: see skfusion audit for what to do about these columns")
    return grave


def _caveat_of(findings: Sequence[Finding]) -> str:
    """Return the errors of an audit as a caveat of the results."""
    errors = [one for one in findings if one.severity == "error"]
    found = "; ".join(f"{one.check} ({', '.join(one.columns)})" for one in errors)
    return f"An audit of the cohort found leakage: {found}." if found else ""


def _write(result: Any, outputs: Mapping[str, Any], title: str | None) -> None:
    write_json(outputs.get("json"), result.to_json())
    if outputs.get("save"):
        result.save(outputs["save"])
        say(f"Results with predictions: {Path(outputs['save']).resolve()}")
    if outputs.get("html"):
        result.to_html(outputs["html"], title=title)
        show(f"\nReport: {Path(outputs['html']).resolve()}")


def check_strategies(files: Iterable[str], compared: Iterable[str]) -> None:
    """Check before a run that every model to save is of a strategy of the comparison.

    Parameters
    ----------
    files : iterable of str
        Strategies whose models are asked for.
    compared : iterable of str
        Strategies of the comparison, its single modalities among them.

    Raises
    ------
    ValueError
        If a strategy is not compared.

    Examples
    --------
    >>> from skfusion.cli.compare import check_strategies
    >>> check_strategies(["early"], ["ehr in late", "late"])
    Traceback (most recent call last):
        ...
    ValueError: --save-model names 'early', which is not compared, expected one of ...
    """
    known = list(compared)
    for strategy in files:
        if strategy not in known:
            raise ValueError(
                f"--save-model names {strategy!r}, which is not compared, expected one "
                f"of {', '.join(map(repr, known))}.{did_you_mean(strategy, known)}"
            )


def write_models(
    result: Any, files: Mapping[str, str], *, embed_weights: bool = False
) -> None:
    """Fit strategies on all rows of a comparison, write them, and print what they are.

    Parameters
    ----------
    result : FusionComparison
        The comparison.
    files : mapping of str to path
        File of each model, by its strategy.
    embed_weights : bool, default=False
        Whether the files contain the weights of named networks.

    Raises
    ------
    ModelFileError
        If a part of a model has no form without pickle.
    OSError
        If a file cannot be written.
    """
    for strategy, file in files.items():
        model = result.final_estimator(strategy)
        about = require("skfusion.persistence", "persistence").save(
            model, file, embed_weights=embed_weights
        )
        show(f"\nModel {strategy}: {Path(file).resolve()}")
        n_rows = result.cohort_["n_rows"]
        show(
            f"It was fitted on all {n_rows:,} rows. No score of the comparison is "
            "about this fit."
        )
        show(_words_of_weights(about.encoders))
        if about.untrusted:
            show(f"skfusion predict needs {option('--trust', *about.untrusted)}")


def _words_of_weights(encoders: list[dict[str, Any]]) -> str:
    """Return whether the weights of the networks of a model are in its file."""
    if not encoders:
        return "It has no network whose weights another machine would need."
    absent = [one["name"] for one in encoders if not one.get("embedded")]
    if not absent:
        return "The weights of its networks are in the file."
    names = ", ".join(dict.fromkeys(absent))
    return (
        f"The weights of {names} are not in the file: a machine that predicts needs "
        "them, or use --embed-weights."
    )


def default_jobs() -> int:
    """Return the number of parallel fits: one per core, at most four.

    Returns
    -------
    int
    """
    return min(os.cpu_count() or 1, MOST_JOBS)


def embed(cohort: Cohort) -> None:
    """Embed the images once, so that the folds find them in the store.

    Parameters
    ----------
    cohort : Cohort
        Checked cohort. The engine of its embedders is chosen here, unless it is given.

    Raises
    ------
    RunError
        If an image cannot be read.
    """
    from sklearn.base import clone

    from skfusion import ImageEmbedder
    from skfusion.image import ImageReadError

    for name, transformer, column in cohort.modalities:
        if isinstance(transformer, ImageEmbedder) and transformer.store is not None:
            if name not in cohort.engine_is_given:
                settle_engine(name, transformer, cohort.X[column])
            loud = clone(transformer).set_params(verbose=progress_level())
            try:
                loud.fit_transform(cohort.X[column])
            except ImageReadError as error:
                raise RunError(
                    f"{error} With --unreadable-images absent, images that cannot be "
                    "read count as absent."
                ) from error


def settle_engine(name: str, embedder: Any, cells: Any) -> None:
    """Choose the engine of a modality, set it, and say so if it is not usual.

    Parameters
    ----------
    name : str
        Name of the modality.
    embedder : ImageEmbedder
        Embedder, whose parameter `engine` is set.
    cells : Series of shape (n_samples,)
        Images of all rows.
    """
    from skfusion.image.embedding.engine_choice import choose_engine

    choice = choose_engine(embedder, cells)
    embedder.set_params(engine=choice.engine)
    if choice.is_fallback:
        say(f"{name}: torch computes the embeddings, because {choice.reason}")
    if choice.engine == "openvino":
        version = require("openvino", "openvino").__version__.partition("-")[0]
        how_near = ""
        if choice.difference is not None:
            how_near = f", to a relative difference of {choice.difference:.0e}"
        say(
            f"{name}: OpenVINO {version} computes the embeddings, because "
            f"{choice.reason}. They are those of torch{how_near}, and have keys of "
            "their own in the store. --engine torch uses torch instead."
        )
