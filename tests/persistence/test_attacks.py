"""Files that were changed by chance or on purpose: what is refused, in which words."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

pytest.importorskip("skops", reason="the extra persistence is not installed")

from changed_files import Parts, packed, parts_of, with_graph  # noqa: E402

import skfusion  # noqa: E402
from skfusion.persistence import ModelFileError, UntrustedTypesError  # noqa: E402
from skfusion.persistence.archive import archive_bytes  # noqa: E402


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)), np.arange(40) % 2
    model = skfusion.LateFusionClassifier(
        [("lab", "passthrough", [0, 1]), ("ecg", "passthrough", [2, 3])],
        estimator=LogisticRegression(),
    )
    return X, y, model.fit(X, y)


@pytest.fixture(scope="module")
def content(case, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.skfusion"
    skfusion.save(case[2], path)
    return path.read_bytes()


@pytest.fixture
def load(tmp_path):
    def load_bytes(content: bytes, **options):
        path = tmp_path / "changed.skfusion"
        path.write_bytes(content)
        return skfusion.load(path, **options)

    return load_bytes


def with_manifest(content: bytes, **changes) -> bytes:
    parts = parts_of(content)
    manifest = json.loads(parts["manifest.json"]) | changes
    return archive_bytes({**parts, "manifest.json": json.dumps(manifest).encode()})


def zipped(content: bytes, change: Callable[[zipfile.ZipFile, Parts], None]) -> bytes:
    """The parts, written by the module zipfile as `change` does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        change(archive, parts_of(content))
    return buffer.getvalue()


def member(name: str, mode: int = stat.S_IFREG | 0o600) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, mode << 16
    return info


def node(loader: str, module: str, name: str, **rest) -> dict:
    return {"__loader__": loader, "__module__": module, "__class__": name, **rest}


JSON = node("JsonNode", "builtins", "str", content='"echo"', is_json=True)
EMPTY = node("TupleNode", "builtins", "tuple", content=[])


def put(node: dict) -> Callable[[Parts, dict], None]:
    """Put an object among the attributes of the model."""

    def change(_: Parts, schema: dict) -> None:
        schema["content"]["content"]["verbose"] = node

    return change


def add(name: str, mode: int = stat.S_IFREG | 0o600, content: bytes = b"x"):
    def change(archive: zipfile.ZipFile, parts: Parts) -> None:
        for part, value in parts.items():
            archive.writestr(member(part), value)
        archive.writestr(member(name, mode), content)

    return change


def deflated(archive: zipfile.ZipFile, parts: Parts) -> None:
    for part, value in parts.items():
        archive.writestr(member(part), value)
    archive.writestr(member("weights/0000.bin"), bytes(10**6), zipfile.ZIP_DEFLATED)


def declared_size(content: bytes) -> bytes:
    """Both headers of the last member declare more bytes than there are."""
    changed = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        local = archive.infolist()[-1].header_offset
    directory = content.rindex(b"PK\1\2")
    for place in (local + 18, local + 22, directory + 20, directory + 24):
        changed[place : place + 4] = struct.pack("<L", 2**31)
    return bytes(changed)


def large_array(inner: Parts, schema: dict) -> None:
    name = next(name for name in inner if name.endswith(".npy"))
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    inner[name] = buffer.getvalue()


def pickled_array(inner: Parts, schema: dict) -> None:
    name = next(name for name in inner if name.endswith(".npy"))
    buffer = io.BytesIO()
    np.save(buffer, np.array([{1: 2}], dtype=object), allow_pickle=True)
    inner[name] = buffer.getvalue()


def nested(content: bytes) -> bytes:
    """An object inside 3,000 lists, which the module json does not write."""
    parts = parts_of(with_graph(content, put(JSON)))
    inner = parts_of(parts["estimator.skops"])
    atom = json.dumps(JSON)
    opening = json.dumps(node("ListNode", "builtins", "list", content=[]))[:-2]
    deep = opening * 3000 + atom + "]}" * 3000
    inner["schema.json"] = inner["schema.json"].decode().replace(atom, deep).encode()
    return packed({**parts, "estimator.skops": archive_bytes(inner)})


def without(name: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        return archive_bytes({k: v for k, v in parts_of(content).items() if k != name})

    return change


CALL = node("ObjectNode", "posix", "system", content=JSON)
ATTACKS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "foreign type": (lambda c: with_graph(c, put(CALL)), "not trust: posix.system"),
    "foreign function": (
        lambda c: with_graph(c, put(node("FunctionNode", "os", "system"))),
        "not trust: os.system",
    ),
    "constructor": (
        lambda c: with_graph(
            c,
            put(
                node(
                    "ConstructorFromReduceNode",
                    "skfusion.image",
                    "ImageEmbedder",
                    content=EMPTY,
                )
            ),
        ),
        "would call skfusion.image.ImageEmbedder",
    ),
    "list of another class": (
        lambda c: with_graph(
            c, put(node("ListNode", "skfusion.modality", "Modality", content=[]))
        ),
        "would call skfusion.modality.Modality",
    ),
    "method": (
        lambda c: with_graph(
            c,
            put(node("MethodNode", "x", "y", content={"func": "f", "obj": CALL})),
        ),
        "a MethodNode, which skfusion.save does not write",
    ),
    "older protocol": (
        lambda c: with_graph(c, lambda _, schema: schema.update(protocol=0)),
        "protocol 0 of skops",
    ),
    "symbolic link": (
        lambda c: zipped(c, add("weights/0", stat.S_IFLNK | 0o777)),
        "'weights/0' is a symbolic link",
    ),
    "path escape": (lambda c: zipped(c, add("../../up")), "leads out of the file"),
    "path escape of Windows": (lambda c: zipped(c, add("a\\..\\b")), "leads out of"),
    "absolute path": (lambda c: zipped(c, add("/etc/passwd")), "an absolute path"),
    "drive": (lambda c: zipped(c, add("C:/x")), "an absolute path"),
    "bomb": (lambda c: zipped(c, deflated), "is compressed. Parts of a model"),
    "declared size": (declared_size, "declares 2,147,483,648 bytes, more than"),
    "array of a declared size": (
        lambda c: with_graph(c, large_array),
        "declares 8,796,093,022,208 bytes and has 0",
    ),
    "pickle in an array": (
        lambda c: with_graph(c, pickled_array),
        "contains pickled objects",
    ),
    "nesting": (nested, "no JSON|nested too deeply"),
    "newer format": (
        lambda c: with_manifest(c, version=2),
        "has format 2, and this version of skfusion reads formats up to 1. Update",
    ),
    "other major version": (
        lambda c: with_manifest(c, versions={"sklearn": "0.24.2"}),
        "another major version of sklearn 0.24.2 .here 1.*install these versions",
    ),
    "duplicate": (lambda c: zipped(c, add("manifest.json")), "occurs twice"),
    "duplicate in capitals": (lambda c: zipped(c, add("MANIFEST.json")), "twice"),
    "truncated": (lambda c: c[:-40], "no zip file, it is cut off, or bytes were added"),
    "prepended": (lambda c: b"PK\3\4" + c, "before it|no zip file|damaged"),
    "appended": (lambda c: c + b"x", "bytes were added to it"),
    "extra member": (
        lambda c: archive_bytes({**parts_of(c), "weights/9.bin": b"x"}),
        "its manifest does not know the part 'weights/9.bin'",
    ),
    "missing manifest": (without("manifest.json"), "it has no manifest.json"),
    "missing part": (without("estimator.skops"), "'estimator.skops' is missing"),
    "wrong digest": (
        lambda c: archive_bytes(
            {
                **parts_of(c),
                "estimator.skops": parts_of(c)["estimator.skops"][:-1] + b"\1",
            }
        ),
        "does not have the SHA-256 of the manifest, so it was changed",
    ),
    "no model": (lambda c: archive_bytes({"manifest.json": b"{}"}), "not that of a m"),
    "packed again": (
        lambda c: zipped(c, lambda a, p: [a.writestr(k, v) for k, v in p.items()]),
        "is not one that skfusion.save writes. Copy the file as it is",
    ),
    "no zip": (lambda c: b"\x80\x04K\x01." * 30, "it is no zip file"),
    "empty": (lambda c: b"", "it is no zip file, or it is cut off"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused_in_words(attack, content, load):
    change, message = ATTACKS[attack]
    with pytest.raises(ModelFileError, match=message) as refused:
        load(change(content))
    assert "changed.skfusion" not in str(refused.value)


def test_changes_of_the_tests_leave_a_file_that_loads(content, load, case):
    X, _, model = case
    for same in (packed(parts_of(content)), with_graph(content, lambda *_: None)):
        found = load(same).predict_proba(X)
        np.testing.assert_array_equal(found, model.predict_proba(X))


def test_limits_of_members_and_size_can_be_raised(content, load):
    with pytest.raises(ModelFileError, match="2 members, more than max_members=1"):
        load(content, max_members=1)
    with pytest.raises(ModelFileError, match="more than max_size=100"):
        load(content, max_size=100)
    load(content, max_members=20, max_size=10**7)


def test_ten_thousand_members_are_refused_before_they_are_read(content, load):
    parts = parts_of(content)
    parts |= {f"weights/{i:05d}": b"" for i in range(10_001)}
    with pytest.raises(ModelFileError, match="10,003 members, more than max_members"):
        load(archive_bytes(parts))


@pytest.mark.long
def test_three_hundred_flipped_bits_change_no_prediction(content, load, case):
    X, _, model = case
    expected = model.predict_proba(X)
    rng = np.random.default_rng(0)
    n_refused = 0
    for place in rng.integers(0, len(content) * 8, 300):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << int(place % 8)
        try:
            loaded = load(bytes(changed))
        except ModelFileError:
            n_refused += 1
        else:
            np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert n_refused > 280


def test_attack_calls_nothing(content, load, monkeypatch):
    import os

    called = []
    monkeypatch.setattr(os, "system", called.append)
    with pytest.raises(UntrustedTypesError) as refused:
        load(with_graph(content, put(node("FunctionNode", "os", "system"))))
    assert refused.value.names == ["os.system"]
    assert called == []


@pytest.mark.parametrize("trusted", [True, "skfusion", 3])
def test_trusted_is_a_list(content, load, trusted):
    with pytest.raises(TypeError, match="trusted must be a list of qualified names"):
        load(content, trusted=trusted)


def test_names_and_classes_can_be_trusted(tmp_path):
    from sklearn.tree import DecisionTreeClassifier
    from sklearn.tree._tree import Tree

    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
    tree = DecisionTreeClassifier(max_depth=2).fit(X, y)
    path = tmp_path / "tree.skfusion"
    described = skfusion.save(tree, path)
    assert described.untrusted == ["sklearn.tree._tree.Tree"]
    with pytest.raises(UntrustedTypesError, match="follows the indices in a tree"):
        skfusion.load(path)
    for trusted in (["sklearn.tree._tree.Tree"], [Tree], described.untrusted):
        found = skfusion.load(path, trusted=trusted).predict(X)
        np.testing.assert_array_equal(found, tree.predict(X))


def of_a_notebook(x):
    return x**2


of_a_notebook.__module__ = "__main__"


def test_what_cannot_be_imported_is_refused_when_saved(tmp_path):
    path = tmp_path / "model.skfusion"
    for function, words in (
        (lambda x: x, "<lambda> of .* is defined inside a function"),
        (of_a_notebook, "of_a_notebook is defined in the script or notebook itself"),
    ):
        with pytest.raises(ModelFileError, match=words) as refused:
            skfusion.save(FunctionTransformer(function).fit([[1.0]]), path)
        assert "at func" in str(refused.value)
    assert not path.exists()
    loaded = FunctionTransformer(np.log1p).fit([[1.0]])
    skfusion.save(loaded, path)
    assert skfusion.load(path).transform([[0.0]]) == 0


def test_only_fitted_estimators_are_saved(tmp_path):
    from sklearn.exceptions import NotFittedError

    path = tmp_path / "model.skfusion"
    with pytest.raises(NotFittedError):
        skfusion.save(skfusion.LateFusionClassifier(), path)
    with pytest.raises(TypeError, match="fitted estimator, got dict"):
        skfusion.save({}, path)
    with pytest.raises(TypeError, match="fitted estimator, got type"):
        skfusion.save(skfusion.LateFusionClassifier, path)
    fitted = FunctionTransformer().fit([[1.0]])
    with pytest.raises(FileNotFoundError, match="folder of the file does not exist"):
        skfusion.save(fitted, tmp_path / "no" / "model.skfusion")
    with pytest.raises(IsADirectoryError, match="path is a folder"):
        skfusion.save(fitted, tmp_path)
    with pytest.raises(IsADirectoryError, match="path is a folder"):
        skfusion.load(tmp_path)
