"""Command skfusion embed, and the segments of skfusion cache."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.cli.main import main


@pytest.fixture
def table(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "films").mkdir()
    names = []
    for i in range(12):
        names.append(f"films/case {i}.png")
        Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(
            tmp_path / names[-1]
        )
    frame = pd.DataFrame({"age": range(14), "film": [*names, None, names[0]]})
    path = tmp_path / "cohort.csv"
    frame.to_csv(path, index=False)
    return path


def options(tmp_path) -> list[str]:
    return ["--image", "film", "--input-size", "32", "--store", str(tmp_path / "s")]


def entries(tmp_path, **params) -> int:
    return EmbeddingStore(tmp_path / "s", **params).info()["entries"]


def test_all_images_of_a_table(table, tmp_path, capsys):
    assert main(["embed", str(table), *options(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "film: 13 of 14 cells are embedded, 1 have no image" in out
    assert entries(tmp_path) == 12
    paths = [str(tmp_path / f"films/case {i}.png") for i in range(12)]
    store = EmbeddingStore(tmp_path / "s")
    ImageEmbedder(input_size=32, store=store).fit_transform(paths)
    assert store.info()["computed"] == 12


def test_shards_are_all_of_it_once(table, tmp_path, capsys):
    seen = []
    for shard in (1, 2, 3):
        words = ["--shard", f"{shard}/3", "--segments"]
        assert main(["embed", str(table), *options(tmp_path), *words]) == 0
        seen.append(entries(tmp_path, segments=True))
    assert seen[-1] == 12
    assert 0 < seen[0] < seen[1] < 12
    store = str(tmp_path / "s")
    assert main(["cache", "verify", "--path", store]) == 0
    assert main(["cache", "merge", "--path", store]) == 0
    assert main(["cache", "info", "--path", store]) == 0
    out = capsys.readouterr().out
    assert "3 segments are sound" in out
    assert "segments merged into" in out
    assert "entries:   12" in out


def test_a_damaged_segment_is_reported(table, tmp_path, capsys):
    assert main(["embed", str(table), *options(tmp_path), "--segments"]) == 0
    (file,) = (
        path
        for path in (tmp_path / "s" / "segments").glob("*.segment")
        if path.stat().st_size > 20_000
    )
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["cache", "verify", "--path", str(tmp_path / "s")]) == 0
    result = capsys.readouterr()
    assert "1 damaged ones were moved aside" in result.out
    assert "is damaged" in result.err


@pytest.mark.parametrize("bad", ["0/3", "4/3", "3", "a/b", "-1/3", "1/0"])
def test_a_wrong_shard(table, tmp_path, bad, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["embed", str(table), *options(tmp_path), f"--shard={bad}"])
    assert caught.value.code == 2
    assert "1/64 to 64/64" in capsys.readouterr().err


def test_problems_of_the_table(table, tmp_path, capsys):
    assert main(["embed", str(table), "--image", "fil"]) == 2
    assert "'film'" in capsys.readouterr().err
    assert main(["embed", str(table)]) == 2
    assert "--image COLUMN" in capsys.readouterr().err
    (tmp_path / "films" / "case 3.png").unlink()
    (tmp_path / "films" / "case 4.png").write_bytes(b"no image")
    assert main(["embed", str(table), *options(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "--missing-images absent --unreadable-images absent" in err
    remedies = ["--missing-images", "absent", "--unreadable-images", "absent"]
    assert main(["embed", str(table), *options(tmp_path), *remedies]) == 0
    assert "11 of 14 cells are embedded" in capsys.readouterr().out


def test_modalities_of_a_settings_file(table, tmp_path, capsys):
    config = tmp_path / "study.toml"
    config.write_text(
        'table = "cohort.csv"\ntarget = "age"\n[modalities.film]\ncolumns = "film"\n'
        'encoder = "ImageEmbedder"\nparams = {input_size = 32}\n'
        '[modalities.ehr]\ncolumns = ["age"]\nencoder = "TabularEncoder"\n'
    )
    words = ["--config", str(config), "--store", str(tmp_path / "s")]
    assert main(["embed", *words]) == 0
    assert entries(tmp_path) == 12


def test_the_store_of_a_settings_file_is_kept(table, tmp_path, capsys):
    config = tmp_path / "study.toml"
    text = 'table = "cohort.csv"\n[modalities.film]\ncolumns = "film"\n'
    text += 'encoder = "ImageEmbedder"\n'
    config.write_text(
        f'{text}params = {{input_size = 32, store = "{tmp_path / "mine"}"}}\n'
    )
    assert main(["embed", "--config", str(config)]) == 0
    assert EmbeddingStore(tmp_path / "mine").info()["entries"] == 12


@pytest.mark.slow
def test_a_killed_run_goes_on(table, tmp_path):
    command = [sys.executable, "-m", "skfusion", "embed", str(table)]
    command += options(tmp_path)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    process.kill()
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "13 of 14 cells are embedded" in done.stdout
    assert entries(tmp_path) == 12


@pytest.mark.filterwarnings("ignore:.*embedding store in:UserWarning")
@pytest.mark.parametrize("segments", [[], ["--segments"]])
def test_a_store_that_keeps_nothing_is_an_error(table, tmp_path, capsys, segments):
    before = table.read_bytes()
    call = ["embed", str(table), "--image", "film", "--input-size", "32", *segments]
    assert main([*call, "--store", str(table)]) == 2
    assert "the store is a file, expected a folder" in capsys.readouterr().err
    assert table.read_bytes() == before
    assert main([*call, "--store", str(table / "store")]) == 1
    text = capsys.readouterr().err
    assert "the store cannot be used, so no embedding was kept" in text
