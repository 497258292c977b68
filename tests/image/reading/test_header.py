"""Attributes in functional groups, unusable headers, units, and bits of pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pydicom
import pytest
from dicom_files import as_bytes, dataset
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from skfusion import read_image
from skfusion.image import read_metadata
from skfusion.image.reading.files import ImageReadError

RNG = np.random.default_rng(0)
PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


def item(**tags) -> Dataset:
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def enhanced(per_frame: list[dict], **shared) -> bytes:
    """Make a multi-frame CT with its attributes in functional groups."""
    pixels = np.full((len(per_frame), 4, 4), 1000, np.uint16)
    pixels[0, 0, 0], pixels[-1, 0, 0] = 0, 3000
    made = dataset(pixels)
    made.SharedFunctionalGroupsSequence = Sequence([group(**shared)])
    made.PerFrameFunctionalGroupsSequence = Sequence(
        [group(**parts) for parts in per_frame]
    )
    return as_bytes(made)


def group(**parts) -> Dataset:
    return item(**{name: Sequence([item(**tags)]) for name, tags in parts.items()})


HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
BRAIN = {"WindowCenter": 40, "WindowWidth": 80}


@pytest.mark.parametrize("place", ["shared", "per frame", "top"])
def test_enhanced_ct_is_ct(place):
    parts = {
        "PixelValueTransformationSequence": HU,
        "FrameVOILUTSequence": BRAIN,
    }
    if place == "shared":
        content = enhanced([{}, {}], **parts)
    elif place == "per frame":
        content = enhanced([parts, parts])
    else:
        pixels = np.full((2, 4, 4), 1000, np.uint16)
        pixels[0, 0, 0], pixels[-1, 0, 0] = 0, 3000
        content = as_bytes(dataset(pixels, **HU, **BRAIN))
    image = read_image(content)
    assert image.metadata["unit"] == "HU"
    assert image.metadata["scaling"] == "hounsfield"
    assert image.array[0, 1, 1] == pytest.approx((1000 - 1024 + 1024) / 4095)
    assert read_image(content, window="brain").metadata["limits"] == (0, 80)


def test_windows_that_differ_between_frames_are_not_used():
    windows = [
        {"FrameVOILUTSequence": {"WindowCenter": 50, "WindowWidth": width}}
        for width in (100, 1000, 4000)
    ]
    content = enhanced(windows)
    made = pydicom.dcmread(io.BytesIO(content))
    made.Modality = "MR"
    assert read_image(as_bytes(made)).metadata["scaling"] == "minmax"
    with pytest.raises(ImageReadError, match="header of the image has none"):
        read_image(as_bytes(made), scaling="window")


def test_metadata_of_functional_groups():
    content = enhanced(
        [{}, {}],
        PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25], "SliceThickness": 3},
        CTXRayDetailsSequence={"KVP": 120},
        CTExposureSequence={"XRayTubeCurrentInmA": 200.0, "ExposureInmAs": 50.0},
        FrameAnatomySequence={"FrameLaterality": "L"},
        FrameContentSequence={"FrameAcquisitionDateTime": "20200102030405.5"},
    )
    found = read_metadata(content).loc[0]
    assert (found["spacing_y"], found["spacing_x"]) == (0.5, 0.25)
    assert (found["slice_thickness"], found["kvp"]) == (3, 120)
    assert (found["tube_current"], found["exposure"]) == (200, 50)
    assert found["laterality"] == "L"
    assert str(found["acquired"]) == "2020-01-02 03:04:05"
    assert read_image(content).spacing == (0.5, 0.25)


def test_frames_at_one_position_are_volumes():
    places = [
        {
            "PlanePositionSequence": {"ImagePositionPatient": [0, 0, z]},
            "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            "FrameContentSequence": {"TemporalPositionIndex": time},
        }
        for time, z in [(2, 0.0), (1, 0.0), (2, 3.0), (1, 3.0), (1, 6.0), (2, 6.0)]
    ]
    pixels = np.arange(6, dtype=np.uint16)[:, None, None] * np.ones((1, 4, 4), "u2")
    made = pydicom.dcmread(
        io.BytesIO(enhanced(places, PixelMeasuresSequence={"PixelSpacing": [1, 1]}))
    )
    made.PixelData = pixels.tobytes()
    content = as_bytes(made)
    assert read_image(content).axes == "TYX"
    first, second = (
        read_image(content, scaling="none", volume_index=i) for i in range(2)
    )
    assert first.array[:, 0, 0].tolist() == [1, 3, 4]
    assert second.array[:, 0, 0].tolist() == [0, 2, 5]
    assert first.spacing == (3.0, 1.0, 1.0)
    with pytest.raises(ImageReadError, match="volume_index=2 does not exist: .* 2 vol"):
        read_image(content, volume_index=2)


@pytest.mark.parametrize(
    ("tags", "unit"),
    [
        ({"RescaleType": "hu"}, "HU"),
        ({"RescaleType": "HOUNSFIELD"}, "HU"),
        ({"RescaleType": "H.U."}, "HU"),
        ({"RescaleType": "Hounsfield Units"}, "HU"),
        ({"RescaleType": "UNSPECIFIED"}, "HU"),
        ({"RescaleType": "US"}, "HU"),
        ({"RescaleType": "MGML"}, "MGML"),
        ({"RescaleType": "HU_MOD"}, "HU_MOD"),
        ({"Modality": "PT", "Units": "BQML"}, "BQML"),
        ({"Modality": "MR"}, None),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, None),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, None),
        ({"BitsStored": 8, "HighBit": 7, "RescaleIntercept": 0}, None),
    ],
)
def test_units(tags, unit):
    made = dataset(PIXELS, **({"RescaleSlope": 1, "RescaleIntercept": -1024} | tags))
    assert read_image(as_bytes(made)).metadata["unit"] == unit


def lut(**tags) -> Sequence:
    return Sequence([item(**tags)])


def lut_data(values: np.ndarray) -> bytes:
    return values.astype("<u2").tobytes()


UNUSABLE = {
    "VOI LUT without data": {"VOILUTSequence": lut(LUTExplanation="NORMAL")},
    "VOI LUT without descriptor": {
        "VOILUTSequence": lut(LUTData=lut_data(np.arange(64)))
    },
    "VOI LUT that is too short": {
        "VOILUTSequence": lut(LUTDescriptor=[64, 0, 16], LUTData=bytes(20))
    },
    "modality LUT without data": {
        "ModalityLUTSequence": lut(LUTDescriptor=[64, 0, 16], ModalityLUTType="HU")
    },
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_tables_that_cannot_be_used_are_ignored(kind):
    name = next(iter(UNUSABLE[kind]))
    for part in UNUSABLE[kind].values():
        if "LUTData" in part[0]:
            part[0]["LUTData"].VR = "OW"
    content = as_bytes(dataset(PIXELS, Modality="MG", **UNUSABLE[kind]))
    for scaling in ("none", "auto"):
        with pytest.warns(UserWarning, match=f"count as absent: {name}"):
            image = read_image(content, scaling=scaling)
        assert image.metadata["value_range"] == (0, 63)
    with (
        pytest.warns(UserWarning, match=name),
        pytest.raises(ImageReadError, match="scaling='window' needs a window"),
    ):
        read_image(content, scaling="window")


@pytest.mark.parametrize(
    ("text", "centre"), [(b"40,00", 40.0), (b" 4e1 ", 40.0), (b"wide ", None)]
)
def test_numbers_of_a_window(text, centre):
    content = as_bytes(
        dataset(PIXELS, Modality="MR", WindowCenter="40.00", WindowWidth="41")
    ).replace(b"40.00", text)
    if centre is None:
        with pytest.warns(UserWarning, match="count as absent: WindowCenter"):
            assert read_image(content).metadata["scaling"] == "minmax"
    else:
        assert read_image(content).metadata["limits"] == (centre - 20.5, centre + 19.5)


def test_rescale_with_a_decimal_comma_and_without_numbers():
    tags = {"RescaleSlope": "2.50", "RescaleIntercept": "-1024"}
    content = as_bytes(dataset(PIXELS, **tags))
    expected = read_image(content, scaling="none")
    comma = read_image(content.replace(b"2.50", b"2,50"), scaling="none")
    np.testing.assert_array_equal(comma.array, expected.array)
    with pytest.warns(UserWarning, match="count as absent: RescaleSlope"):
        text = read_image(content.replace(b"2.50", b"no  "), scaling="none")
    np.testing.assert_array_equal(text.array, PIXELS)  # not shifted alone
    assert text.metadata["unit"] is None


NEEDED = [
    *("SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation"),
    *("BitsStored", "BitsAllocated", "HighBit"),
]


@pytest.mark.parametrize("name", NEEDED)
def test_absent_attributes_of_pixels_have_usual_values(name):
    made = dataset(PIXELS)
    delattr(made, name)
    content = as_bytes(made)
    with pytest.warns(UserWarning, match=f"assumed for absent attributes.*: {name}"):
        found = read_image(content, scaling="none")
    np.testing.assert_array_equal(found.array, PIXELS)


def test_an_error_names_the_element_and_not_its_value():
    made = dataset(PIXELS, NumberOfFrames=3)
    with pytest.raises(ImageReadError, match="NumberOfFrames") as caught:
        read_image(as_bytes(made).replace(b"IS\x02\x003 ", b"IS\x02\x00xy"))
    assert "xy" not in str(caught.value)
    del made.Rows
    with pytest.raises(ImageReadError, match="lacks Rows"):
        read_image(as_bytes(made))


@pytest.mark.parametrize(
    ("bits", "largest"), [(12, 65535), (16, 4095), (12, 4095), (16, 65535), (8, 255)]
)
def test_depth_of_a_table_is_that_of_its_data(bits, largest):
    table = lut(LUTDescriptor=[64, 0, bits], LUTData=b"")
    table[0]["LUTData"].VR = "OW"
    table[0].LUTData = lut_data(np.linspace(0, largest, 64))
    image = read_image(as_bytes(dataset(PIXELS, Modality="MG", VOILUTSequence=table)))
    np.testing.assert_allclose(image.array.ravel(), np.linspace(0, 1, 64), atol=0.01)


def test_inverse_presentation_is_inverted_once():
    inverse = {"Modality": "DX", "PresentationLUTShape": "INVERSE"}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        image = read_image(as_bytes(dataset(PIXELS, photometric, **inverse)))
        assert image.array[0, 0] == 1


@pytest.mark.parametrize("signed", [False, True])
def test_values_in_the_upper_bits(signed):
    values = np.arange(4096).reshape(64, 64) - 2048 * signed
    pixels = (values << 4).astype(np.int16 if signed else np.uint16)
    made = dataset(pixels, Modality="DX", BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(
        read_image(as_bytes(made), scaling="none").array, values
    )


def jpeg(subsampling: int, photometric: str, *, jfif: bool) -> bytes:
    file = io.BytesIO()
    colour = Image.new("RGB", (32, 32), (200, 30, 60))
    colour.save(file, "JPEG", quality=95, subsampling=subsampling)
    stream = file.getvalue()
    if not jfif:
        length = int.from_bytes(stream[4:6], "big")
        stream = stream[:2] + stream[4 + length :]
    made = dataset(np.zeros((32, 32, 3), np.uint8), "RGB", Modality="XC")
    made.PhotometricInterpretation = photometric
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    made.PixelData = encapsulate([stream])
    made["PixelData"].is_undefined_length = True
    return as_bytes(made)


@pytest.mark.parametrize("subsampling", [1, 2])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("jfif", [False, True])
def test_subsampled_jpeg_is_ycbcr_whatever_the_header_says(
    subsampling, photometric, jfif
):
    found = read_image(jpeg(subsampling, photometric, jfif=jfif), scaling="none")
    np.testing.assert_allclose(found.array[5, 5], [200, 30, 60], atol=2)


def test_overlays_above_the_pixels_are_cleared():
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    pixels = values | np.uint16(1 << 15)
    made = dataset(pixels, Modality="MR", BitsStored=12, HighBit=11)
    made.add_new((0x6000, 0x0102), "US", 15)
    made.compress("1.2.840.10008.1.2.4.80", encoding_plugin="pyjpegls")
    found = read_image(as_bytes(made), scaling="none")
    np.testing.assert_array_equal(found.array, values)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    "first",
    [
        {"InstanceCreationDate": "20200101"},
        {"InstanceCreationTime": "101010"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
        {"SOPInstanceUID": "1.2.3"},
        {"StudyDate": "20200101"},
    ],
    ids=str,
)
def test_files_without_a_preamble(first, implicit):
    made = dataset(PIXELS, Modality="MR")
    del made.file_meta, made.SOPClassUID, made.SOPInstanceUID
    for name, value in first.items():
        setattr(made, name, value)
    file = io.BytesIO()
    pydicom.dcmwrite(
        file, made, implicit_vr=implicit, little_endian=True, enforce_file_format=False
    )
    if not implicit:
        return  # without meta information, the syntax is implicit by definition
    found = read_image(file.getvalue(), scaling="none")
    np.testing.assert_array_equal(found.array, PIXELS)


def test_other_objects_are_refused_with_the_way_out():
    slide = dataset(PIXELS, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6")
    mosaic = dataset(PIXELS, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    for made, match in ((slide, "whole-slide"), (mosaic, "mosaic.*dcm2niix")):
        with pytest.raises(ImageReadError, match=match):
            read_image(as_bytes(made))
    path = pydicom.data.get_testdata_file("DICOMDIR")
    with pytest.raises(ImageReadError, match="DICOMDIR, the index of a folder"):
        read_image(path)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # of writing them
def test_dates_of_old_standards_and_ages_without_an_age():
    tags = {
        "AcquisitionDate": "2020.01.02",
        "AcquisitionTime": "10:30:00",
        "StudyDate": "20190101",
        "PatientBirthDate": "19500601",
    }
    found = read_metadata(as_bytes(dataset(PIXELS, **tags))).loc[0]
    assert str(found["acquired"]) == "2020-01-02 10:30:00"
    assert found["age"] == 69
    wrong = tags | {"AcquisitionTime": "250000"}
    found = read_metadata(as_bytes(dataset(PIXELS, **wrong))).loc[0]
    assert str(found["acquired"]) == "2020-01-02 00:00:00"
    wrong = tags | {"AcquisitionDate": "20201399"}
    found = read_metadata(as_bytes(dataset(PIXELS, **wrong))).loc[0]
    assert found.isna()["acquired"]  # not the day of the study, which is another one
    old = tags | {"PatientBirthDate": "19000601"}
    assert read_metadata(as_bytes(dataset(PIXELS, **old)))["age"].item() == 90


def test_a_dataset_is_not_changed_by_reading():
    made = pydicom.dcmread(io.BytesIO(as_bytes(dataset(PIXELS))))
    del made.PixelRepresentation
    before = made.to_json()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the absent attribute
        read_image(made)
    assert made.to_json() == before


def test_boxes_of_jpeg_2000_that_lead_nowhere():
    """Such a box has the length 0, at which a reader could wait forever."""
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (16, 16)).astype(np.uint8)).save(
        file, "JPEG2000"
    )
    stream = file.getvalue()
    assert stream[16:20] == b"ftyp"
    made = dataset(np.zeros((16, 16), np.uint8), Modality="XC")
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    for broken in (False, True):
        frame = stream[:12] + bytes(4) + stream[16:] if broken else stream
        made.PixelData = encapsulate([frame])
        made["PixelData"].is_undefined_length = True
        if broken:
            with pytest.raises(ImageReadError, match="invalid box"):
                read_image(as_bytes(made))
        else:
            assert read_image(as_bytes(made)).array.shape == (16, 16)
