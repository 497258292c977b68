"""The page in Chromium: every section, no errors, no requests, no overflow, a PDF."""

from __future__ import annotations

import functools
import html
import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier, compare_fusion

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SECTIONS = (
    *("cohort", "characteristics", "scores", "differences", "tests"),
    *("discrimination", "calibration", "decision", "missing", "subgroups"),
    *("learning", "importance", "audit", "methods", "settings", "checklist"),
)
# A page of a server, that loads the report in a frame of a width and measures it.
PROBE = """<!DOCTYPE html><meta charset="utf-8"><body>
<iframe id="frame" style="width:{width}px;height:900px;border:0" src="/report.html">
</iframe><pre id="found"></pre><script>
const frame = document.getElementById("frame");
frame.onload = () => {{
  const inner = frame.contentDocument, root = inner.documentElement;
  const found = {{
    width: root.clientWidth,
    scroll: root.scrollWidth,
    sections: [...inner.querySelectorAll("h2[id], h3[id]")].map(h => h.id),
    beyond: [...inner.querySelectorAll("body *")].filter(e =>
      !e.closest(".scroll") && e.getBoundingClientRect().right > root.clientWidth + 1
      && !e.closest("svg")).map(e => e.tagName + "." + e.className),
    broken: [...inner.images].filter(i => !i.complete || !i.naturalWidth).length,
    dark: getComputedStyle(inner.body).backgroundColor,
    requests: frame.contentWindow.performance.getEntriesByType("resource")
      .map(e => e.name).filter(n => !n.startsWith("data:")),
  }};
  document.getElementById("found").textContent = JSON.stringify(found);
}};
</script></body>"""


class Importance:
    """An object with a frame and a plot."""

    def to_frame(self):
        names = pd.Index(["lesion_" * 6, "胸部影像"], name="modality")
        return pd.DataFrame({"share": [0.6, 0.4], "low": [0.5, 0.3]}, index=names)

    def plot(self):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4, 2))
        figure.subplots().barh(["a", "b"], [0.6, 0.4])
        return figure


class Audit:
    """An object with findings."""

    def to_frame(self):
        return pd.DataFrame(
            {"check": ["rows twice"], "severity": ["warning"], "n_rows": [12]}
        )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(600, 2)), columns=["lesion", "age"])
    y = (X.sum(axis=1) + rng.normal(size=600) > 0).astype(int)
    X["patient_id"] = np.arange(600) // 2
    X.loc[:60, "lesion"] = np.nan
    name = "contrast_enhanced_computed_tomography_of_the_chest"
    parts = [(name, StandardScaler(), ["lesion"]), ("ehr", StandardScaler(), ["age"])]
    learner = LogisticRegression()
    result = compare_fusion(
        {
            "early": EarlyFusionClassifier(parts, estimator=learner),
            "late": LateFusionClassifier(parts, estimator=learner),
        },
        X,
        y,
        groups="patient_id",
        cv=3,
        n_repeats=2,
        description="A cohort made up for this test.",
        random_state=0,
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    sex = np.where(np.arange(600) // 2 % 2, "female or not stated", "male")
    result.to_html(
        path,
        operating_point=result.operating_point(sensitivity=0.9),
        missing=result.missing_curve(name, [0, 1], n_repeats=1),
        subgroups={"sex_assigned_at_birth_in_the_record": sex},
        learning=result.learning_curve([0.5, 1]),
        importance=Importance(),
        audit=Audit(),
    )
    return path


@pytest.fixture(scope="module")
def server(page):
    requested = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            requested.append(path)
            if path == "/probe":
                body = PROBE.format(width=int(query)).encode()
            elif path == "/report.html":
                body = page.read_bytes()
            else:  # the icon that a browser asks each server for
                body = b""
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}", requested
    found.shutdown()
    found.server_close()
    thread.join()


def chromium(folder, *arguments):
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=100, check=True
    )


@functools.cache
def probed(address, folder, width, *flags):
    """Return what a probe measures in a frame of a width, and the console."""
    run = chromium(
        folder,
        *("--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"),
        *("--window-size=1400,1000", *flags, f"{address}/probe?{width}"),
    )
    text = re.search(r'<pre id="found">(.*?)</pre>', run.stdout, re.DOTALL)
    assert text, run.stderr
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(text[1])), console


@pytest.mark.timeout(200)
@pytest.mark.parametrize("width", [400, 1280])
def test_page_fits_is_whole_and_asks_for_nothing(server, tmp_path, width):
    address, requested = server
    requested.clear()
    found, console = probed(address, tmp_path, width)
    assert set(SECTIONS) <= set(found["sections"])
    assert width - 20 <= found["width"] <= width  # less a scroll bar
    assert found["scroll"] <= found["width"]
    assert found["beyond"] == []
    assert found["broken"] == 0
    assert found["requests"] == []
    assert set(requested) <= {"/probe", "/report.html", "/favicon.ico"}
    assert console == []


@pytest.mark.timeout(200)
def test_a_page_that_is_too_wide_and_asks_is_noticed(page, server, tmp_path):
    sound = page.read_text(encoding="utf-8")
    broken = (
        '<div style="width: 1500px">wide</div><img src="/picture.png">'
        "<script>console.error('broken')</script></main>"
    )
    page.write_text(sound.replace("</main>", broken), encoding="utf-8")
    try:
        found, console = probed(server[0], tmp_path, 401)
    finally:
        page.write_text(sound, encoding="utf-8")
    assert found["scroll"] > found["width"]
    assert found["beyond"]
    assert found["broken"] == 1
    assert found["requests"]
    assert console


@pytest.mark.timeout(200)
def test_dark_scheme_is_followed(server, tmp_path):
    light, _ = probed(server[0], tmp_path / "light", 800)
    dark, _ = probed(
        *(server[0], tmp_path / "dark", 800),
        "--blink-settings=preferredColorScheme=0",
    )
    assert light["dark"] == "rgb(245, 246, 248)"
    assert dark["dark"] == "rgb(20, 24, 30)"


@pytest.mark.timeout(200)
def test_page_is_printed(page, tmp_path):
    path = tmp_path / "report.pdf"
    chromium(
        tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={path}", page.as_uri()
    )
    data = path.read_bytes()
    assert data.startswith(b"%PDF")
    n_pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 4 <= n_pages <= 20
