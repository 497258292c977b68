"""The service of docs/serving.md, asked by real clients."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

for package in ("skops", "fastapi", "uvicorn", "torch"):
    pytest.importorskip(package, reason=f"{package} is not installed")

from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402

import skfusion  # noqa: E402

SERVICE = Path(__file__).parents[2] / "docs" / "serving"
N = 24
#: Most memory in kB that a second round of requests adds, where 0.2 MB were measured.
#: Of 400 requests, those with an image would keep 5 MB if each kept its pixels.
MOST_GROWTH = 4_000


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def cases():
    rng = np.random.default_rng(0)
    scans = rng.integers(0, 200, (N, 24, 24), dtype=np.uint8)
    return pd.DataFrame(
        {
            "scan": [png(scan) for scan in scans],
            "age": rng.integers(30, 90, N),
            "sex": rng.choice(["f", "m"], N),
            "seen on": pd.to_datetime("2026-01-01")
            + pd.to_timedelta(rng.integers(0, 99, N), unit="D"),
            "at": pd.Timestamp("2026-06-01"),
        }
    )


@pytest.fixture(scope="module")
def model(cases):
    ehr = skfusion.TabularEncoder(index_time="at")
    return skfusion.EarlyFusionClassifier(
        [
            ("scan", skfusion.ImageEmbedder(input_size=32, store=None), "scan"),
            ("ehr", ehr, ["age", "sex", "seen on", "at"]),
        ],
        estimator=make_pipeline(SimpleImputer(), LogisticRegression()),
    ).fit(
        cases.assign(scan=cases["scan"].where(np.arange(N) % 5 > 0, None)),
        np.tile(["no", "yes"], N // 2),
    )


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    """The port and the process of a running service."""
    path = tmp_path_factory.mktemp("service") / "model.skfusion"
    skfusion.save(model, path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port)]
    root = str(Path(skfusion.__file__).parents[1])
    environment = os.environ | {"SKFUSION_MODEL": str(path), "PYTHONPATH": root}
    log = path.with_name("log")
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--log-level", "warning"],
            cwd=SERVICE,
            env=environment,
            stdout=file,
            stderr=file,
        )
        try:
            wait_for(port, process, log)
            yield port, process
        finally:
            process.terminate()
            process.wait(10)


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the service does not answer")


def ask(connection: http.client.HTTPConnection, case: dict) -> tuple[int, dict]:
    head = {"Content-Type": "application/json"}
    connection.request("POST", "/predict", json.dumps(case), head)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def as_json(row: pd.Series) -> dict:
    return {
        "scan": base64.b64encode(row["scan"]).decode(),
        "age": int(row["age"]),
        "sex": row["sex"],
        "seen on": row["seen on"].isoformat(),
        "at": row["at"].isoformat(),
    }


def requests(cases: pd.DataFrame, model) -> list[tuple[dict, list[str] | str, float]]:
    """Cases, the modalities that they lack or the error, and the probability."""
    found: list[tuple[dict, list[str] | str, float]] = []
    for i in range(6):
        row = cases.iloc[[i]]
        case = as_json(row.iloc[0])
        without = row.assign(scan=None)
        found.append((case, [], model.predict_proba(row)[0, 1]))
        blind = {name: case[name] for name in case if name != "scan"}
        found.append((blind, ["scan"], model.predict_proba(without)[0, 1]))
    case = found[0][0]
    bad = base64.b64encode(b"no image").decode()
    found += [
        ({**case, "scan": bad}, "The content is not an image", np.nan),
        ({**case, "scan": "/etc/passwd"}, "must be an image file in base64", np.nan),
        ({**case, "age": "old"}, "number", np.nan),
        ({**case, "seen on": "yesterday"}, "no dates as text in ISO 8601", np.nan),
        ({**case, "weight": 3}, "weight|extra", np.nan),
    ]
    return found


def check(answers, expected) -> None:
    for (status, answer), (_, absent, probability) in zip(
        answers, expected, strict=True
    ):
        if isinstance(absent, str):
            assert status == 422, answer
            assert re.search(absent, json.dumps(answer)), answer
        else:
            assert status == 200, answer
            assert answer["absent"] == absent
            assert answer["probabilities"]["yes"] == probability


@pytest.mark.long
def test_schema_is_that_of_the_manifest(server):
    connection = http.client.HTTPConnection("127.0.0.1", server[0])
    connection.request("GET", "/openapi.json")
    schema = json.loads(connection.getresponse().read())
    connection.close()
    fields = schema["components"]["schemas"]["Case"]["properties"]
    assert list(fields) == ["scan", "age", "sex", "seen on", "at"]
    assert fields["age"]["anyOf"][0]["type"] == "number"
    assert fields["scan"]["description"] == "image"


@pytest.mark.parametrize("n_requests", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_four_clients_get_right_answers_or_422(server, cases, model, n_requests):
    port, process = server
    known = requests(cases, model)

    def client(seed: int) -> None:
        order = np.random.default_rng(seed).integers(0, len(known), n_requests)
        expected = [known[i] for i in order]
        # Each kind of error occurs, whatever the order.
        expected[:5] = known[-5:]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        answers = [ask(connection, case) for case, *_ in expected]
        connection.close()
        check(answers, expected)

    # The first round starts the threads of the server, and what they allocate.
    memory = []
    for _ in range(2):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(client, range(4)))
        memory.append(memory_of(process.pid))
    if None not in memory:
        assert memory[1] - memory[0] < MOST_GROWTH


def memory_of(process: int) -> int | None:
    """Resident memory in kB, None where the system does not tell."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    return int(text.partition("VmRSS:")[2].split()[0])
