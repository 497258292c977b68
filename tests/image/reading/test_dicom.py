"""DICOM beside pydicom's own pipeline: every transfer syntax and photometric kind."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import as_bytes, dataset

from skfusion import read_image
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.intensity import Window

pydicom = pytest.importorskip("pydicom")
from pydicom.pixels import (  # noqa: E402
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
    pixel_array,
)
from pydicom.sequence import Sequence  # noqa: E402

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
RNG = np.random.default_rng(0)

# one or more files of each transfer syntax that the wheel of pydicom holds
SYNTAXES = {
    "Implicit VR Little Endian": ["MR_small_implicit.dcm", "rtdose.dcm"],
    "Explicit VR Little Endian": ["CT_small.dcm", "MR_small_padded.dcm"],
    "Explicit VR Big Endian": ["MR_small_bigendian.dcm", "ExplVR_BigEnd.dcm"],
    "Deflated Explicit VR Little Endian": ["image_dfl.dcm"],
    "RLE Lossless": ["MR_small_RLE.dcm", "SC_rgb_rle_16bit_2frame.dcm"],
    "JPEG Baseline (Process 1)": ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cr.dcm"],
    "JPEG Extended (Process 2 and 4)": ["JPGExtended.dcm"],
    "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 "
    "[Selection Value 1])": ["SC_rgb_jpeg_gdcm.dcm"],
    "JPEG-LS Lossless Image Compression": ["MR_small_jpeg_ls_lossless.dcm"],
    "JPEG-LS Lossy (Near-Lossless) Image Compression": ["JPEGLSNearLossless_16.dcm"],
    "JPEG 2000 Image Compression (Lossless Only)": [
        "MR_small_jp2klossless.dcm",
        "GDCMJ2K_TextGBR.dcm",
    ],
    "JPEG 2000 Image Compression": ["JPEG2000.dcm", "SC_rgb_gdcm_KY.dcm"],
}
PHOTOMETRIC = {
    "MONOCHROME1": "dicomdirtests/77654033/CR1/6154",
    "MONOCHROME2": "examples_overlay.dcm",
    "PALETTE COLOR": "examples_palette.dcm",
    "RGB": "examples_rgb_color.dcm",
    "YBR_FULL": "SC_rgb_jpeg_lossy_gdcm.dcm",
    "YBR_FULL_422": "SC_ybr_full_422_uncompressed.dcm",
    "YBR_RCT": "GDCMJ2K_TextGBR.dcm",
}


def reference(header) -> np.ndarray:
    """What pydicom gives: decoded, RGB, after the modality LUT."""
    stored = pixel_array(header)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(stored, header)
    if header.SamplesPerPixel > 1:
        return stored
    if "DoseGridScaling" in header:
        return stored * float(header.DoseGridScaling)
    return apply_modality_lut(stored, header)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of the reference
@pytest.mark.parametrize(
    ("syntax", "name"),
    [(syntax, name) for syntax, names in SYNTAXES.items() for name in names],
)
def test_every_transfer_syntax(syntax, name):
    header = pydicom.dcmread(FOLDER / name)
    image = read_image(FOLDER / name, scaling="none")
    assert image.metadata["transfer_syntax"] == syntax
    assert image.metadata["transfer_syntax"] == header.file_meta.TransferSyntaxUID.name
    # Decoders of lossy JPEG may round by a level, which is up to 1.8 in blue (PS3.3
    # C.7.6.3.1.2); which one the reference takes depends on what is installed.
    level = 2 if syntax.startswith("JPEG Baseline") else 0
    np.testing.assert_allclose(image.array, reference(header), rtol=1e-6, atol=level)


@pytest.mark.parametrize("kind", PHOTOMETRIC)
def test_every_photometric_interpretation(kind):
    header = pydicom.dcmread(FOLDER / PHOTOMETRIC[kind])
    image = read_image(FOLDER / PHOTOMETRIC[kind], scaling="none")
    assert image.metadata["mode"] == kind == header.PhotometricInterpretation
    expected = reference(header)
    if kind == "MONOCHROME1":  # inverted within what the header's line can give
        line = float(header.RescaleSlope), float(header.RescaleIntercept)
        ends = line[1], line[0] * (2**header.BitsStored - 1) + line[1]
        expected = sum(ends) - expected
    level = 2 if kind == "YBR_FULL" else 0  # lossy JPEG, as above
    np.testing.assert_allclose(image.array, expected, rtol=2e-6, atol=level)
    assert image.photometric == ("grey" if kind.startswith("MONO") else "rgb")


def test_monochrome_1_is_inverted_monochrome_2():
    first = read_image(as_bytes(dataset(RAMP, "MONOCHROME1", BitsStored=12)))
    second = read_image(as_bytes(dataset(RAMP, "MONOCHROME2", BitsStored=12)))
    np.testing.assert_allclose(first.array, 1 - second.array, atol=1e-6)
    for scaling in ("dtype", "percentile", "window"):
        window = (1000, 500) if scaling == "window" else None
        first, second = (
            read_image(as_bytes(dataset(RAMP, kind)), scaling=scaling, window=window)
            for kind in ("MONOCHROME1", "MONOCHROME2")
        )
        np.testing.assert_allclose(first.array, 1 - second.array, atol=1e-6)


@pytest.mark.parametrize("bits", [12, 16])
def test_a_ramp_keeps_its_levels(bits):
    """The usual way through Pillow's 8-bit RGB turns 93.8 % of a 12-bit film white."""
    ramp = np.linspace(0, 2**bits - 1, 4096).astype(np.uint16).reshape(64, 64)
    film = dataset(ramp, BitsStored=bits, HighBit=bits - 1, Modality="DX")
    image = read_image(as_bytes(film))
    assert np.unique(image.array).size == np.unique(ramp).size >= 256
    assert image.metadata["saturated"] == (0.0, 0.0)


def test_ct_keeps_its_levels():
    made = dataset(RAMP, RescaleSlope=1, RescaleIntercept=-1024)
    image = read_image(as_bytes(made))
    assert np.unique(image.array).size == 4096
    assert image.metadata["saturated"] == (0.0, 0.0)


# ---------------------------------------------------------------- windows, tables


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_of_the_header(function):
    tags = {"WindowCenter": 1000, "WindowWidth": 800, "VOILUTFunction": function}
    tags |= {"Modality": "DX", "RescaleSlope": 1, "RescaleIntercept": 0}
    made = dataset(RAMP, BitsStored=16, **tags)
    expected = apply_voi_lut(RAMP.astype(float), made) / (2**16 - 1)
    image = read_image(as_bytes(made))
    np.testing.assert_allclose(image.array, expected, atol=1e-6)
    assert image.metadata["scaling"] == "window"
    below, above = image.metadata["saturated"]
    assert below > 0.1
    assert above > 0.5


def test_ct_is_the_same_whatever_window_its_header_proposes():
    pixels = np.array([[0, 1024, 4095]], dtype=np.uint16)
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    plain = read_image(as_bytes(dataset(pixels, **tags)))
    brain = dataset(pixels, WindowCenter=[40, 300], WindowWidth=[80, 900], **tags)
    np.testing.assert_array_equal(read_image(as_bytes(brain)).array, plain.array)
    assert plain.metadata["limits"] == (-1024, 3071)
    assert plain.metadata["unit"] == "HU"
    shown = read_image(as_bytes(brain), scaling="window")
    assert shown.metadata["limits"] == (0.0, 79.0)  # LINEAR: one narrower, half lower
    soft = read_image(as_bytes(brain), window="soft").array
    np.testing.assert_allclose(soft, [[0, 0.4, 1]])
    with pytest.raises(ImageReadError, match="the header of the image has none"):
        read_image(as_bytes(dataset(pixels, **tags)), scaling="window")
    mr = dataset(pixels, Modality="MR", RescaleType="US")
    assert read_image(as_bytes(mr)).metadata["unit"] is None
    pet = dataset(pixels, Modality="PT", Units="BQML")
    with pytest.raises(
        ImageReadError, match="Hounsfield units, but the image is in BQML"
    ):
        read_image(as_bytes(pet), window="lung")


def lookup_table(first: int, values: list[int], bits: int) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "US", values)
    return item


def test_lookup_tables():
    pixels = np.array([[0, 10, 11], [12, 13, 4000]], dtype=np.uint16)
    made = dataset(pixels, Modality="DX")
    made.VOILUTSequence = Sequence([lookup_table(10, [0, 100, 900, 1023], 10)])
    image = read_image(as_bytes(made))
    expected = np.array([[0, 0, 100], [900, 1023, 1023]]) / 1023
    np.testing.assert_allclose(image.array, expected, rtol=1e-6)
    np.testing.assert_allclose(apply_voi_lut(pixels, made) / 1023, expected, rtol=1e-6)
    made = dataset(pixels, Modality="DX")
    made.ModalityLUTSequence = Sequence([lookup_table(10, [5, 50, 500, 5000], 16)])
    image = read_image(as_bytes(made), scaling="none")
    np.testing.assert_array_equal(image.array, [[5, 5, 50], [500, 5000, 5000]])


# ---------------------------------------------------------------- padding, rescale


@pytest.mark.parametrize("limit", [None, 7])
def test_padding_is_black_and_moves_no_scale(limit):
    pixels = np.array([[0, 5, 6], [7, 1000, 2000]], dtype=np.uint16)
    tags = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        made = dataset(pixels, photometric, PixelPaddingValue=0, Modality="DX", **tags)
        image = read_image(as_bytes(made))
        n_padded = 1 if limit is None else 4
        assert image.metadata["n_padded"] == n_padded
        assert (image.array.ravel()[:n_padded] == 0).all()
        assert image.metadata["value_range"] == (5 if limit is None else 1000, 2000)


def test_padding_of_signed_pixels_written_as_unsigned():
    pixels = np.array([[-2000, 0, 100]], dtype=np.int16)
    made = dataset(pixels)
    made.add_new("PixelPaddingValue", "US", 0x10000 - 2000)
    image = read_image(as_bytes(made), scaling="none")
    assert image.metadata["n_padded"] == 1
    assert image.metadata["value_range"] == (0, 100)


def test_a_rescale_with_fractions_and_one_of_zero():
    made = dataset(RAMP, Modality="PT", RescaleSlope=0.1, RescaleIntercept=-3.5)
    image = read_image(as_bytes(made), scaling="none")
    np.testing.assert_allclose(image.array, RAMP * 0.1 - 3.5, rtol=1e-6, atol=1e-5)
    made = dataset(RAMP, Modality="PT", RescaleSlope=0, RescaleIntercept=0)
    np.testing.assert_array_equal(
        read_image(as_bytes(made), scaling="none").array, RAMP
    )


# ---------------------------------------------------------------- frames


def enhanced(places: list[float]) -> pydicom.Dataset:
    """A volume in one file, whose frames bring their own place and rescale."""
    pixels = np.stack([np.full((3, 4), i, dtype=np.uint16) for i in range(len(places))])
    made = dataset(pixels)
    shared, turned, measures = (pydicom.Dataset() for _ in range(3))
    turned.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [0.7, 0.6]
    shared.PlaneOrientationSequence = Sequence([turned])
    shared.PixelMeasuresSequence = Sequence([measures])
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number, place in enumerate(places):
        group, plane, line = (pydicom.Dataset() for _ in range(3))
        plane.ImagePositionPatient = [0, 0, place]
        line.RescaleSlope, line.RescaleIntercept = 10, number
        line.RescaleType = "HU"
        group.PlanePositionSequence = Sequence([plane])
        group.PixelValueTransformationSequence = Sequence([line])
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return made


def test_frames_are_sorted_in_space():
    image = read_image(as_bytes(enhanced([4.0, 0.0, 2.0])), scaling="none")
    assert image.axes == "ZYX"
    assert image.array[:, 0, 0].tolist() == [11, 22, 0]
    assert image.spacing == (2.0, 0.7, 0.6)
    repeated = read_image(as_bytes(enhanced([4.0, 0.0, 4.0])), scaling="none")
    assert repeated.axes == "TYX"  # phases at one place are no volume
    assert repeated.array[:, 0, 0].tolist() == [0, 11, 22]


def test_films_and_doses():
    film = read_image(FOLDER / "SC_rgb_rle_2frame.dcm")
    assert film.axes == "TYXC"
    dose = read_image(FOLDER / "rtdose.dcm")
    assert dose.axes == "ZYX"
    assert dose.spacing == (5.0, 10.0, 10.0)


# ---------------------------------------------------------------- bad files


def cut(name: str, share: float) -> bytes:
    content = (FOLDER / name).read_bytes()
    return content[: int(share * len(content))]


def without(*names: str) -> bytes:
    made = dataset(RAMP)
    for name in names:
        del made[name]
    return as_bytes(made)


def unknown_syntax(uid: str) -> bytes:
    header = pydicom.dcmread(FOLDER / "MR_small_RLE.dcm")
    header.file_meta.TransferSyntaxUID = uid
    return as_bytes(header)


def bomb() -> bytes:
    made = dataset(RAMP)
    content = as_bytes(made)
    uid = b"1.2.840.10008.1.2.1"
    length = int.from_bytes(content[140:144], "little")
    meta, body = content[: 144 + length], bytes(20_000_000)
    meta = meta.replace(uid + b"\0", uid + b".99")
    at = meta.index(uid) - 2
    meta = meta[:at] + len(uid + b".99").to_bytes(2, "little") + meta[at + 2 :]
    meta = meta[:140] + (len(meta) - 144).to_bytes(4, "little") + meta[144:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return meta + packer.compress(body) + packer.flush()


def short_frames(name: str) -> bytes:
    """Cut the compressed pixels and leave the file around them whole."""
    from pydicom.encaps import encapsulate, generate_frames

    header = pydicom.dcmread(FOLDER / name)
    frame = next(generate_frames(header.PixelData, number_of_frames=1))
    header.PixelData = encapsulate([frame[: len(frame) // 3]])
    return as_bytes(header)


BAD = {
    "short RLE": (lambda: short_frames("MR_small_RLE.dcm"), "damaged, truncated"),
    "short J2K": (lambda: short_frames("JPEG2000.dcm"), "damaged, truncated"),
    "short JPEG": (lambda: short_frames("SC_rgb_jpeg_dcmtk.dcm"), "damaged, trunc"),
    "no pixels": (lambda: without("PixelData"), "contains no pixel data .modality: CT"),
    "a report": (lambda: (FOLDER / "test-SR.dcm").read_bytes(), "modality: SR"),
    "no rows": (lambda: without("Rows"), "header lacks Rows"),
    "truncated": (lambda: (FOLDER / "MR_truncated.dcm").read_bytes(), "is truncated"),
    "truncated RLE": (lambda: cut("MR_small_RLE.dcm", 0.7), "was truncated before"),
    "truncated JPEG": (
        lambda: cut("SC_rgb_jpeg_dcmtk.dcm", 0.8),
        "was truncated before",
    ),
    "truncated J2K": (lambda: cut("JPEG2000.dcm", 0.3), "is damaged"),
    "video": (lambda: unknown_syntax("1.2.840.10008.1.2.4.102"), "MPEG-4.*gdcmconv"),
    "private": (lambda: unknown_syntax("1.2.3.4.5"), r"1\.2\.3\.4\.5 is not supported"),
    "bomb": (bomb, "unpacks to more than 640000 bytes"),
    "all zero": (lambda: as_bytes(dataset(np.zeros((0, 4), np.uint8))), "no pixels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_dicom(kind, tmp_path):
    make, match = BAD[kind]
    path = tmp_path / "Doe.dcm"
    path.write_bytes(make())
    with pytest.raises(ImageReadError, match=match) as caught:
        read_image(path, max_pixels=10_000 if kind == "bomb" else 10**7)
    assert "Doe" not in str(caught.value)


def test_a_missing_decoder_is_named(monkeypatch):
    from pydicom.pixels.decoders import base

    decoder = base.JPEGLSLosslessDecoder
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {"pyjpegls": ("numpy", "pyjpegls")})
    with pytest.raises(ImageReadError, match="JPEG-LS Lossless.*pip install pyjpegls"):
        read_image(FOLDER / "MR_small_jpeg_ls_lossless.dcm")


def test_the_size_is_checked_before_decoding():
    wide = dataset(RAMP, Rows=2, Columns=65535)
    with pytest.raises(ImageReadError, match="2 x 65535 pixels, more than max_pixels"):
        read_image(as_bytes(wide), max_pixels=100_000)
    deep = dataset(RAMP, NumberOfFrames=100_000)
    with pytest.raises(ImageReadError, match="100000 planes of 64 x 64"):
        read_image(as_bytes(deep), max_pixels=10**7)


def test_invalid_values_of_a_header_are_not_quoted():
    made = dataset(RAMP)
    content = as_bytes(made).replace(b"Doe-4711", b"Doe\\47\\1")
    before = pydicom.config.settings.reading_validation_mode
    read_image(content)  # a warning would be an error here
    assert pydicom.config.settings.reading_validation_mode == before


def test_windows_are_checked():
    with pytest.raises(
        ValueError, match="window='liver' is unknown; choose one of lung"
    ):
        read_image(RAMP, window="liver")
    with pytest.raises(ValueError, match="positive width"):
        read_image(RAMP, window=(40, 0))
    with pytest.raises(ValueError, match="contradict each other"):
        read_image(RAMP, window="lung", scaling="minmax")
    with pytest.raises(ImageReadError, match="window requires a grey image"):
        read_image(np.zeros((4, 4, 3), dtype=np.uint8), window="lung")
    assert Window(40, 400).limits == (-160, 240)
