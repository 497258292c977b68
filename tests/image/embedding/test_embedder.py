"""ImageEmbedder and encode_cells: one vector per image, computed once."""

import io
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from torch import nn

from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.image.embedding.encode import encode_cells
from skfusion.image.embedding.pixels import PixelFile, load_pixels
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.freezing.cut import split_backbone
from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from skfusion.image.reading.files import ImageReadError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pictures(rng):
    """Twelve different images, grey and colour, of different sizes."""
    sizes = [(20 + 3 * i, 50 - 2 * i) + ((3,) if i % 2 else ()) for i in range(12)]
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def paths(tmp_path, pictures):
    folder = tmp_path / "pictures"
    folder.mkdir()
    found = []
    for i, picture in enumerate(pictures):
        found.append(str(folder / f"patient-{i}.png"))
        Image.fromarray(picture).save(found[-1])
    return found


def small(**options):
    """An embedder that costs milliseconds, without a store."""
    options = {"input_size": 32, "store": None, **options}
    return ImageEmbedder(**options)


class Counting(nn.Module):
    """Counts the images that pass; a class attribute, since modules are copied."""

    seen = 0
    preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 3)
        nn.init.constant_(self.layer.weight, 0.1)

    def forward(self, images):
        if images.mean() > -np.inf:  # untraceable on purpose: every pass comes here
            Counting.seen += len(images)
        return self.layer(images).mean(dim=(2, 3))


@pytest.fixture
def counting():
    Counting.seen = 0
    return Counting()


def embedded(function):
    """Number of images that a call passes through `Counting`, less the two of build."""
    before = Counting.seen
    function()
    return Counting.seen - before


def test_embeddings_are_what_the_network_gives(paths):
    embedder = small().fit(paths)
    values = embedder.transform(paths)
    backbone = build_backbone(input_size=32)
    pixels, presence = load_pixels(paths, backbone.preprocessing)
    with torch.inference_mode():
        images = backbone.preprocessing.normalise(pixels.read(np.arange(12)))
        expected = backbone.module(images).numpy()
    assert presence.all()
    assert values.shape == (12, 1280)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-5)
    assert np.linalg.norm(values - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_the_same_image_gives_the_same_vector_in_any_company(paths, batch_size):
    reference = small().fit_transform(paths)
    alone = small(batch_size=batch_size).fit_transform(paths[3:4])
    reversed_ = small(batch_size=batch_size).fit_transform(paths[::-1])[::-1]
    scale = np.abs(reference).max()
    np.testing.assert_allclose(alone[0], reference[3], atol=1e-5 * scale)
    np.testing.assert_allclose(reversed_, reference, atol=1e-5 * scale)


def test_all_ways_to_hold_an_image_agree(paths, pictures):
    cells = [
        paths[0],
        Path(paths[0]),
        Path(paths[0]).read_bytes(),
        Image.open(paths[0]),
        pictures[0],
    ]
    values = small().fit_transform(cells)
    np.testing.assert_allclose(values, np.repeat(values[:1], 5, axis=0), rtol=1e-5)


def test_all_ways_to_hold_a_column_agree(paths):
    series = pd.Series(paths, name="scan", index=range(100, 112))
    array = np.array(paths, dtype=object)
    expected = small().fit_transform(paths)
    for column in (series, series.to_frame(), array, array[:, None], tuple(paths)):
        np.testing.assert_array_equal(small().fit_transform(column), expected)
    stack = np.random.default_rng(1).integers(0, 256, (3, 20, 20), dtype=np.uint8)
    colour = np.repeat(stack[..., None], 3, axis=3)
    grey = small().fit_transform(stack)
    np.testing.assert_allclose(small().fit_transform(colour), grey, rtol=1e-4)
    np.testing.assert_array_equal(small().fit_transform(list(stack)), grey)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, ""])
def test_absent_images_are_rows_of_nan(paths, missing):
    values = small().fit_transform([paths[0], missing, paths[1]])
    assert np.isnan(values[1]).all()
    assert np.isfinite(values[[0, 2]]).all()
    only = small().fit(paths).transform([missing, missing])
    assert only.shape == (2, 1280)
    assert np.isnan(only).all()
    assert small().fit(paths).transform([]).shape == (0, 1280)


def test_equal_images_are_embedded_once(paths, counting):
    embedder = small(backbone=counting).fit(paths)
    column = [paths[0], paths[1], paths[0], None, paths[0]]
    values = []
    n = embedded(lambda: values.append(embedder.transform(column)))
    assert n - embedded(embedder.build) == 2
    assert (values[0][[0, 2, 4]] == values[0][0]).all()
    assert not (values[0][0] == values[0][1]).all()


def test_the_store_is_shared_by_clones_and_filled_once(tmp_path, paths, counting):
    store = EmbeddingStore(tmp_path / "store")
    embedder = ImageEmbedder(counting, input_size=32, store=store)
    n_build = embedded(embedder.build)
    first = embedder.fit_transform(paths)
    again = []
    clones = [clone(embedder), clone(embedder).set_params(store=str(store.path))]
    for other in clones:
        n = embedded(lambda other=other: again.append(other.fit_transform(paths)))
        assert n == 2 * n_build  # once in fit, once in transform, no image in between
    assert all(np.array_equal(values, first) for values in again)
    assert store.info()["computed"] == 12
    # What changes the embedding is another entry; what does not is none.
    clone(embedder).set_params(batch_size=2, n_jobs=2).fit_transform(paths)
    assert store.info()["computed"] == 12
    clone(embedder).set_params(scaling="minmax").fit_transform(paths)
    assert store.info()["computed"] == 24
    clone(embedder).set_params(input_size=40).fit_transform(paths)
    assert store.info()["computed"] == 36


def test_a_file_that_changes_is_embedded_anew(tmp_path, paths, pictures):
    embedder = small(store=tmp_path / "store").fit(paths)
    first = embedder.transform(paths[:1])
    Image.fromarray(255 - pictures[0]).save(paths[0])
    assert not np.allclose(embedder.transform(paths[:1]), first, rtol=0.01)


def broken(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return str(path)


@pytest.fixture
def damaged(tmp_path, paths):
    """A column with four unreadable images, two of them the same."""
    whole = Path(paths[2]).read_bytes()
    empty = broken(tmp_path, "secret-empty.png", b"")
    text = broken(tmp_path, "secret-text.png", b"no image at all")
    truncated = broken(tmp_path, "secret-cut.png", whole[: len(whole) // 2])
    return [paths[0], empty, text, None, truncated, paths[1], truncated]


@pytest.mark.parametrize("row", [1, 2, 4])
def test_an_unreadable_image_names_column_and_row(damaged, row):
    column = pd.Series(damaged[:1] + [None] * 3, name="scan")
    column[3] = damaged[row]
    with pytest.raises(ImageReadError, match="column 'scan', row position 3") as caught:
        small().fit(column).transform(column)
    assert "on_error='missing'" in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(ImageReadError, match="row position 1"):
        small().fit(damaged).transform(["", str(Path(damaged[0]).with_name("gone"))])


@pytest.mark.parametrize("with_store", [False, True])
def test_unreadable_images_can_count_as_absent(tmp_path, damaged, with_store):
    store = EmbeddingStore(tmp_path / "store") if with_store else None
    embedder = small(store=store, on_error="missing").fit(damaged)
    with pytest.warns(UserWarning, match="4 of the 7 cells") as caught:
        values = embedder.transform(damaged)
    present = np.isfinite(values).all(axis=1)
    assert present.tolist() == [True, False, False, False, False, True, False]
    assert np.isnan(values[~present]).all()
    (message,) = [str(warning.message) for warning in caught]
    assert "row positions 1, 2, 4, 6" in message
    assert "secret" not in message


def test_a_wrong_column_is_an_error_even_where_bad_images_are_not(paths):
    embedder = small(on_error="missing").fit(paths)
    with pytest.raises(TypeError, match="row position 1"):
        embedder.transform([paths[0], 3.5])


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ("scan.png", TypeError, "single path"),
        (b"scan", TypeError, "single path"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "got 2 columns"),
        (np.zeros((4, 7)), ValueError, r"shape \(4, 7\)"),
        (np.zeros((2, 3, 4, 5, 6, 7)), ValueError, "one column of images"),
        (3, ValueError, "got int"),
        ([None, np.nan], ValueError, "all 2 cells of X are missing"),
        (pd.Series([None], name="scan"), ValueError, "column 'scan' are missing"),
        ([], ValueError, "all 0 cells"),
        (pd.Series([np.nan, 7.0], name="age"), TypeError, "'age', row position 1"),
        ([["a.png", 7.0]], TypeError, "got float in X, row position 0"),
        ([[], [None]], ValueError, "all 2 cells of X are missing"),
    ],
)
def test_fit_refuses_what_is_no_column_of_images(X, kind, message):
    with pytest.raises(kind, match=message):
        small().fit(X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of 1"),
        ({"batch_size": 2.5}, "batch_size must be an integer of 1"),
        ({"scaling": "log"}, "scaling=.* is unknown"),
        ({"on_error": "ignore"}, "on_error must be"),
        ({"device": "cuda:99"}, "not available"),
        ({"backbone": "resnet81"}, "Unknown backbone"),
    ],
)
def test_fit_checks_the_parameters(pictures, parameters, message):
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(pictures)


def test_a_store_is_checked_in_fit(pictures):
    with pytest.raises(TypeError, match="store must be"):
        small(store=3).fit(pictures)


def test_transform_wants_the_network_of_fit(pictures):
    with pytest.raises(NotFittedError):
        small().transform(pictures)
    embedder = small().fit(pictures).set_params(weights=None)
    with pytest.raises(ValueError, match="changed since fit"):
        embedder.transform(pictures)


def test_names_and_containers(paths):
    series = pd.Series(paths[:2], name="scan", index=["a", "b"])
    embedder = small().fit(series)
    names = embedder.get_feature_names_out()
    assert names.tolist() == [f"emb{i}" for i in range(1280)]
    assert embedder.n_features_in_ == 1
    assert embedder.feature_names_in_.tolist() == ["scan"]
    assert not hasattr(embedder.fit(paths), "feature_names_in_")
    frame = small().set_output(transform="pandas").fit_transform(series)
    assert frame.columns.tolist() == names.tolist()
    assert frame.index.tolist() == ["a", "b"]
    tags = embedder.__sklearn_tags__()
    assert tags.input_tags.allow_nan
    assert not tags.input_tags.two_d_array
    assert "ImageEmbedder" in embedder._repr_html_()


@pytest.mark.parametrize("columns", ["scan", ["scan"]])
def test_it_works_in_a_column_transformer(paths, columns):
    X = pd.DataFrame({"scan": paths, "age": range(12)})
    both = ColumnTransformer(
        [("image", small(), columns), ("rest", "passthrough", ["age"])]
    )
    values = both.fit_transform(X)
    np.testing.assert_array_equal(values[:, :-1], small().fit_transform(paths))
    assert both.get_feature_names_out()[0] == "image__emb0"


def test_pickles_are_small_and_give_the_same(pictures):
    embedder = small()
    assert len(pickle.dumps(embedder)) < 2_000
    expected = embedder.fit_transform(pictures)
    pickled = pickle.dumps(embedder)
    assert len(pickled) < 2_000  # no weights in a fitted one either
    np.testing.assert_array_equal(pickle.loads(pickled).transform(pictures), expected)


def test_reading_threads_change_nothing(paths):
    expected = small().fit_transform(paths)
    for n_jobs in (3, -1):
        values = small(n_jobs=n_jobs, batch_size=2).fit_transform(paths)
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


def test_torch_keeps_its_threads(paths):
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            small(n_jobs=2).fit_transform(paths)
            assert torch.get_num_threads() == n_threads
            with joblib.parallel_config(backend="threading", n_jobs=2):
                small().fit_transform(paths)
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)


def test_progress_goes_to_standard_error(paths, capsys):
    small(verbose=1).fit_transform(pd.Series(paths, name="scan"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "Embed images of 'scan'" in err
    assert "12/12" in err
    small().fit_transform(paths)
    assert capsys.readouterr() == ("", "")


def test_progress_is_lines_of_text_without_tqdm(paths, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    small(verbose=1).fit_transform(paths)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Embed images: 12 of 12 images, " in err
    assert "finished" in err


def test_a_trunk_is_encoded_and_stored_with_its_shape(tmp_path, paths):
    backbone = build_backbone(input_size=64)
    split = split_backbone(backbone.module, "last_block")
    store = EmbeddingStore(tmp_path / "store")
    arguments = (split.trunk, backbone.preprocessing)
    key = backbone.fingerprint + split.fingerprint_suffix
    cells = [paths[0], None, *paths[1:5]]
    values, presence = encode_cells(cells, *arguments, key, store=store)
    assert values.shape == (6, 192, 2, 2)
    assert presence.tolist() == [True, False, True, True, True, True]
    assert np.isnan(values[1]).all()
    embedded = small(input_size=64, store=store).fit_transform(cells)
    with torch.inference_mode():
        ends = split.tail(torch.from_numpy(values[presence])).numpy()
    scale = np.abs(ends).max()
    np.testing.assert_allclose(ends, embedded[presence], atol=1e-5 * scale)
    again, _ = encode_cells(cells, *arguments, key, store=store)
    np.testing.assert_array_equal(again, values)
    assert store.info()["computed"] == 10  # five of the trunk, five whole
    nothing, presence = encode_cells([None], *arguments, key, store=store)
    assert nothing.shape == (1, 192, 2, 2)
    assert not presence.any()


def test_a_network_in_training_mode_is_refused(pictures):
    backbone = build_backbone(input_size=32)
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match=r"Call module\.eval\(\)"):
        encode_cells(pictures, module, backbone.preprocessing, "key")


def test_pixels_of_absent_images_are_zero(damaged):
    preprocessing = build_backbone(input_size=16).preprocessing
    with pytest.warns(UserWarning, match="4 of the 7 cells of column 'scan'"):
        pixels, presence = load_pixels(
            damaged, preprocessing, on_error="missing", column="scan"
        )
    assert pixels.shape == (7, 3, 16, 16)
    assert presence.tolist() == [True, False, False, False, False, True, False]
    assert not pixels.read(np.flatnonzero(~presence)).any()
    assert pixels.read(np.flatnonzero(presence)).std() > 0.1
    whole, same = small().read_pixels(damaged[:1])
    assert whole.shape == (1, 3, 32, 32)
    assert same.all()


def test_pixels_come_back_from_disk_as_they_were_written():
    pixels = PixelFile(4, 8)
    images = torch.rand(3, 3, 8, 8)
    for row, image in zip((3, 0), images, strict=False):
        pixels.write(row, image)
    pixels.write(1, images[2, :1])
    read = pixels.read(np.array([0, 1, 2, 3, 3]))
    assert torch.equal(read[0], images[1])
    assert torch.equal(read[1], images[2, :1].expand(3, 8, 8))  # grey
    assert not read[2].any()
    assert torch.equal(read[3], images[0])
    assert torch.equal(read[4], images[0])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_disk_says_how_much_room_the_pixels_need():
    pixels = PixelFile(1000, 100)
    pixels._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pixels._file, pytest.raises(OSError, match=r"1000 images need up to 0\.1 GB"):
        pixels.write(0, torch.zeros(3, 100, 100))


def test_sixteen_bits_are_not_clipped():
    ramp = np.linspace(0, 60_000, 64 * 64).reshape(64, 64).astype(np.uint16)
    halves = np.stack([ramp, np.where(ramp > 30_000, 30_000, ramp)])
    values = small().fit_transform(halves)
    assert np.linalg.norm(values[0] - values[1]) > 0.05 * np.linalg.norm(values[0])


def run_fresh(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_module_of_torchvision_unpickles_in_a_fresh_process(tmp_path):
    """Nothing but the pickle tells that process to prepare torchvision."""
    models = pytest.importorskip("torchvision.models")
    net = models.get_model("shufflenet_v2_x0_5", weights=None)
    net.preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)
    embedder = small(backbone=net)
    path = tmp_path / "embedder.pkl"
    path.write_bytes(pickle.dumps(embedder))
    code = """
    import pickle, sys
    import numpy as np
    with open(sys.argv[1], "rb") as file:
        embedder = pickle.load(file)
    print(embedder.fit_transform([np.zeros((40, 40), dtype=np.uint8)]).shape)
    """
    assert run_fresh(code, str(path)) == "(1, 1000)\n"


@pytest.mark.slow
def test_loky_workers_share_the_store(tmp_path, paths):
    """Two processes, a module of torchvision, the same images at the same time."""
    models = pytest.importorskip("torchvision.models")
    net = models.get_model("shufflenet_v2_x0_5", weights=None)
    net.preprocessing = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD)
    store = EmbeddingStore(tmp_path / "store")
    embedder = ImageEmbedder(net, input_size=32, store=store)
    columns = [paths, paths[::-1], paths[::2], paths[1::2]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loky's own, about its workers' lives
        results = joblib.Parallel(n_jobs=2, backend="loky")(
            joblib.delayed(clone(embedder).fit_transform)(column) for column in columns
        )
    assert store.info()["computed"] == 12
    expected = embedder.fit_transform(paths)
    np.testing.assert_array_equal(results[0], expected)
    np.testing.assert_array_equal(results[1], expected[::-1])
    np.testing.assert_array_equal(results[2], expected[::2])
    assert store.info()["computed"] == 12


@pytest.mark.slow
def test_real_photographs(skfusion_data):
    folder = skfusion_data / "pad_ufes_20_subset" / "images"
    paths = sorted(folder.iterdir())[:24]
    values = small(input_size=None).fit_transform(paths)
    assert np.isfinite(values).all()
    centred = values - values.mean(axis=0)
    assert np.linalg.matrix_rank(centred, tol=1e-2) == 23  # no two are alike


def test_bytes_io_is_left_where_it_was(pictures):
    buffer = io.BytesIO()
    Image.fromarray(pictures[0]).save(buffer, "png")
    buffer.seek(0)
    values = small().fit_transform([buffer])
    np.testing.assert_array_equal(small().fit_transform([buffer]), values)


# ---------------------------------------------------------------- files that change


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, monkeypatch):
    """The key is that of other bytes: nothing may be stored under it."""
    from skfusion.image.cells import volumes

    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(first).save(path)
    read = volumes.read_bytes_image

    def change_then_read(cell, **settings):
        Image.fromarray(second).save(path, compress_level=1)
        return read(cell, **settings)

    store = EmbeddingStore(tmp_path / "store")
    embedder = ImageEmbedder(input_size=32, store=store).fit([path])
    monkeypatch.setattr(volumes, "read_bytes_image", change_then_read)
    with pytest.raises(ImageReadError, match="changed while it was being read"):
        embedder.transform([path])
    monkeypatch.undo()
    assert store.info()["entries"] == 0
    expected = ImageEmbedder(input_size=32, store=None).fit_transform([second])
    np.testing.assert_allclose(embedder.transform([path]), expected, rtol=1e-4)
