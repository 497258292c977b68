"""Text of table files in the encodings in which people save them."""

from __future__ import annotations

import codecs

import pytest

from skfusion.cli.tables.encodings import decode, repaired, strange_characters

TEXT = "größe;café\n1;2\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TEXT.encode(), ""),
        (codecs.BOM_UTF8 + TEXT.encode(), "byte order mark"),
        (TEXT.encode("cp1252"), "Windows-1252"),
        (TEXT.encode("utf-16"), "UTF-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "UTF-16"),
        (TEXT.encode("utf-16-le"), "UTF-16 without"),
        (TEXT.encode("utf-16-be"), "UTF-16 without"),
        (TEXT.encode("utf-32"), "UTF-32"),
    ],
)
def test_encodings_are_recognised_and_named(data, said):
    found = decode(data)
    assert found.text == TEXT
    assert found.problems == []
    assert not found.is_mixed
    assert said in " ".join(found.notes)
    assert bool(said) == bool(found.notes)


def test_a_declared_encoding_is_used_even_if_another_fits():
    text = "żółw,1\n"
    assert decode(text.encode("cp1250"), "cp1250").text == text
    assert decode(text.encode("cp1250")).text != text
    assert decode(codecs.BOM_UTF8 + text.encode(), "utf-8").text == text


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"a,b\n", "utf-9", "no encoding of this name"),
        ("é".encode("cp1252"), "utf-8", "byte 0 of 1 cannot be decoded"),
        (b"caf\x8d,\xe9", None, "neither UTF-8, UTF-16 nor Windows-1252"),
    ],
)
def test_what_cannot_be_decoded_is_a_problem(data, encoding, said):
    (problem,) = decode(data, encoding).problems
    assert said in problem.text
    assert "--encoding" in problem.other or "utf-8" in problem.other


@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_two_encodings_in_one_file_in_one_line_too(bom):
    data = bom + "Köln,".encode() + "Zürich".encode("cp1252") + b"\nBonn,Bern"
    found = decode(data)
    assert found.is_mixed
    assert strange_characters(found.text)
    assert repaired(found.text) == "Köln,Zürich\nBonn,Bern"


def test_text_that_was_encoded_twice_is_repaired():
    twice = "Müller, 37 °C".encode().decode("cp1252")
    assert strange_characters(twice)
    assert repaired(twice) == "Müller, 37 °C"
    for right in ("Müller", "Ærø", "Ângela ®", "плохо", "37 °C"):
        assert not strange_characters(right)
        assert repaired(right) == right
