"""What the benchmarks claim beside their times."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def benchmark(name: str):
    """Import a benchmark, which is no module of a package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
)
def test_a_benchmark_finds_what_it_imports(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    try:
        benchmark(name)
    except ModuleNotFoundError as error:  # of a package that is compared with
        if (error.name or "").startswith("skfusion"):
            raise
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*are random.*freezes them:UserWarning")
@pytest.mark.parametrize(("size", "epochs"), [(64, 5), (128, 2)])
def test_a_stored_trunk_trains_the_same_network(tmp_path, size, epochs):
    pytest.importorskip("skorch")
    bench = benchmark("bench_joint")
    X, y = bench.make_cohort(48, tmp_path)
    frozen = bench.BACKBONE, bench.TRAINABLE
    ours = bench.ours(X, y, size, epochs, frozen)
    before = bench.Start.network
    assert bench.difference(ours, bench.plain(X, y, size, epochs, frozen)) == 0
    moved = dict(before.named_parameters())
    assert any(
        not weights.equal(moved[name]) for name, weights in ours.named_parameters()
    )
