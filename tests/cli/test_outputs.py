"""Results never replace what a command reads, under whatever name."""

from __future__ import annotations

import os

import pytest

from skfusion.cli.console import write_json
from skfusion.cli.main import main
from skfusion.cli.settings import check_outputs

TABLE = "sick,crp,age\n" + "".join(f"{i % 2},{i},{60 + i}\n" for i in range(12))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text(TABLE)
    (tmp_path / "hard.json").hardlink_to(path)
    (tmp_path / "soft.json").symlink_to(path.name)
    (tmp_path / "twice.json").symlink_to("soft.json")
    return path


@pytest.mark.parametrize("name", ["cases.csv", "hard.json", "soft.json", "twice.json"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("audit", "--json"),
        ("advise", "--json"),
        ("explain", "--json"),
        ("compare", "--html"),
        ("compare", "--json"),
        ("compare", "--save"),
    ],
)
def test_the_table_is_never_replaced(table, capsys, command, option, name):
    result = str(table.parent / name)
    call = [command, str(table), "--target", "sick", option, result]
    assert main(call) == 2
    assert f"{option} is the file of the table" in capsys.readouterr().err
    assert table.read_text() == TABLE


def test_settings_and_weights_are_never_replaced(table, capsys):
    config = table.parent / "study.toml"
    config.write_text(
        f'table = "cases.csv"\ntarget = "sick"\njson = "{table.parent}/study.toml"\n'
    )
    before = config.read_text()
    assert main(["compare", "--config", str(config)]) == 2
    assert "--json is the file of --config" in capsys.readouterr().err
    assert config.read_text() == before
    (table.parent / "net.safetensors").write_bytes(b"weights")
    (table.parent / "net.json").hardlink_to(table.parent / "net.safetensors")
    about = {"params": {"weights": str(table.parent / "net.safetensors")}}
    with pytest.raises(ValueError, match="--json is the file of weights of film"):
        check_outputs(
            {"json": str(table.parent / "net.json")}, {"modalities": {"film": about}}
        )


def test_two_results_need_two_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = {"json": "new.json", "save": str(tmp_path / "new.json")}
    with pytest.raises(ValueError, match="--json and --save are the same file"):
        check_outputs(outputs, {})
    check_outputs({"json": os.devnull, "save": os.devnull}, {})


def test_a_failing_result_leaves_the_old_one(tmp_path, monkeypatch):
    place = tmp_path / "scores.json"
    write_json(str(place), {"a": 1})
    old = place.read_text()
    monkeypatch.setattr(
        "skfusion._paths.os.replace",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OSError, match="cannot be written .No space left") as caught:
        write_json(str(place), {"a": 2})
    assert caught.value.errno == 28
    assert str(tmp_path) not in str(caught.value)
    assert place.read_text() == old
    assert os.listdir(tmp_path) == ["scores.json"]
