"""Every format at a realistic size, objects of other libraries, and refused formats."""

from __future__ import annotations

import gzip
import io
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import as_bytes, dataset, plane, write_series
from PIL import Image, ImageFile

from skfusion import ImageEmbedder, read_image
from skfusion.image import RadiomicsEncoder, read_metadata
from skfusion.image.reading.files import ImageReadError, is_missing
from skfusion.image.reading.read import content_digest

RNG = np.random.default_rng(0)
AFFINE = np.array([[-0.5, 0, 0, 10], [0, -0.6, 0, 20], [0, 0, 3.0, -5], [0, 0, 0, 1]])
VOXELS = RNG.integers(-50, 900, (181, 217, 91)).astype(np.int16)
SCAN = nibabel.Nifti1Image(VOXELS, AFFINE)
SHOWN = VOXELS.transpose(2, 1, 0)  # LPS columns and rows: as displayed
GREY = RNG.integers(0, 4096, (1500, 1200)).astype(np.uint16)


def written(image: nibabel.spatialimages.SpatialImage, path) -> bytes:
    nibabel.save(image, path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "b.nii", "a.mgh", "a.mgz"])
def test_volumes_of_nibabel(tmp_path, name):
    kind = {"b": nibabel.Nifti2Image}.get(name[0], nibabel.Nifti1Image)
    kind = nibabel.MGHImage if "mg" in name else kind
    content = written(kind(VOXELS, AFFINE), tmp_path / name)
    for source in (tmp_path / name, content):
        found = read_image(source, scaling="none")
        np.testing.assert_array_equal(found.array, SHOWN)
        assert found.spacing == pytest.approx((3.0, 0.6, 0.5))
        assert found.affine @ [90, 0, 0, 1] == pytest.approx([10, 20, 265, 1])


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "uint16", "int32", "uint32", "int64", "float32", "float64"],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_voxels_of_every_type(dtype, order):
    values = (VOXELS[::4, ::4, ::4] % 100).astype(dtype)
    header = nibabel.Nifti1Header(endianness=order)
    image = nibabel.Nifti1Image(values, AFFINE, header=header)
    image.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    found = read_image(image.to_bytes(), scaling="none")
    np.testing.assert_array_equal(found.array, values.transpose(2, 1, 0))


@pytest.mark.parametrize(
    "name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr", "packed.mha", "packed.nrrd"]
)
def test_volumes_of_itk(tmp_path, name):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(SHOWN)
    image.SetSpacing((0.5, 0.6, 3.0))
    image.SetOrigin((-10.0, -20.0, -5.0))  # LPS
    sitk.WriteImage(image, str(tmp_path / name), useCompression="packed" in name)
    found = read_image(tmp_path / name, scaling="none")
    np.testing.assert_array_equal(found.array, SHOWN)
    assert found.spacing == pytest.approx((3.0, 0.6, 0.5))
    np.testing.assert_allclose(found.affine, AFFINE[:, [2, 1, 0, 3]], atol=1e-6)
    if name in ("a.mhd", "a.nhdr"):
        with pytest.raises(ImageReadError, match="Pass the path of the header"):
            read_image((tmp_path / name).read_bytes())
    else:
        again = read_image((tmp_path / name).read_bytes(), scaling="none")
        np.testing.assert_array_equal(again.array, SHOWN)


def test_headers_of_itk_read_their_own_folder_only(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    (tmp_path / "x").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(SHOWN), str(tmp_path / "secret.mhd"))
    text = (tmp_path / "secret.mhd").read_text()
    for wanted, match in (("../secret.zraw", "outside"), ("none.raw", "not exist")):
        header = text.replace("secret.zraw", wanted).replace("secret.raw", wanted)
        (tmp_path / "x" / "a.mhd").write_text(header)
        with pytest.raises(ImageReadError, match=match):
            read_image(tmp_path / "x" / "a.mhd")


META = (
    b"ObjectType = Image\nNDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\n%b"
    b"ElementDataFile = %b\n"
)
NRRD = (
    b"NRRD0004\ntype: unsigned char\ndimension: 2\nsizes: 4 4\nencoding: raw\n%b"
    b"data file: %b\n\n"
)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.mhd", META % (b"", b"%b")),
        ("a.mhd", META % (b"\n", b"%b")),
        ("a.mhd", META % (b" ", b"%b")),
        ("a.mhd", META.replace(b"File =", b"File :") % (b"", b"%b")),
        ("a.mhd", META % (b"", b"LIST\n%b")),
        ("a.mhd", META % (b"", b"LIST 2\n%b")),
        ("a.mhd", META % (b"ElementDataFile : %b\n", b"LOCAL")),
        ("a.mhd", META % (b"Comment = ElementDataFile = LOCAL\n\n ", b"%b")),
        ("a.mhd", META % (b"Comment = " + b"x" * (1 << 20) + b"\n", b"%b")),
        ("a.nhdr", NRRD % (b"", b"%b")),
        ("a.nhdr", NRRD % (b"# a comment\r", b"%b")),
        ("a.nhdr", NRRD % (b"", b"LIST\n%b")),
        ("a.nhdr", NRRD % ((b"# " + b"x" * 998 + b"\n") * 1050, b"%b")),
    ],
    ids=range(13),
)
def test_no_spelling_of_a_header_reads_another_folder(name, header, tmp_path):
    """The readers of ITK are more lenient than the formats."""
    pytest.importorskip("SimpleITK")
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(range(16)))
    (tmp_path / "x").mkdir()
    for listed in ("LIST", "LIST 2"):
        (tmp_path / "x" / listed).write_bytes(b"")
    path = tmp_path / "x" / name
    path.write_bytes(header.replace(b"%b", bytes(secret)))
    with pytest.raises(ImageReadError, match=r"outside of its|does not say where"):
        read_image(path)


@pytest.mark.parametrize("name", ["v%d.raw 1 1 1", "v%03d.raw", "..\\secret.raw"])
def test_names_of_voxels_in_headers_are_no_patterns(name, tmp_path):
    pytest.importorskip("SimpleITK")
    for voxels in (name, "v1.raw", "v001.raw"):
        (tmp_path / voxels).write_bytes(bytes(range(16)))
    for header, ending in ((META, "mhd"), (NRRD, "nhdr")):
        path = tmp_path / f"a.{ending}"
        path.write_bytes(header % (b"", name.encode()))
        with pytest.raises(ImageReadError, match="outside of its folder, or to sever"):
            read_image(path)


def test_long_headers_and_windows_lines_are_read():
    pytest.importorskip("SimpleITK")
    voxels = bytes(range(16))
    header = NRRD.partition(b"%b")[0]
    for content in (
        header + (b"# " + b"x" * 998 + b"\n") * 200 + b"\n" + voxels,
        header.replace(b"\n", b"\r\n") + b"\r\n" + voxels,
        META % (b"", b"LOCAL") + voxels,
        META.replace(b"\n", b"\r\n") % (b"", b"LOCAL") + voxels,
    ):
        found = read_image(content, scaling="none").array
        np.testing.assert_array_equal(found.ravel(), np.arange(16))


def encoded(values: np.ndarray, name: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, name, **options)
    return file.getvalue()


EIGHT = (GREY >> 4).astype(np.uint8)
COLOUR = np.dstack([EIGHT, EIGHT[::-1], EIGHT[:, ::-1]])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(GREY, "PNG"), GREY),
        (encoded(GREY, "TIFF"), GREY),
        (encoded(GREY, "JPEG2000"), GREY),
        (encoded(EIGHT, "JPEG2000"), EIGHT),
        (encoded(COLOUR, "JPEG2000"), COLOUR),
        (encoded(EIGHT, "GIF"), EIGHT),
        (encoded(COLOUR, "PPM"), COLOUR),
        (encoded(COLOUR, "BMP"), COLOUR),
        (encoded(COLOUR, "WEBP", lossless=True), COLOUR),
        (b"P5\n# a film\n1200 1500\n4095\n" + GREY.astype(">u2").tobytes(), GREY),
        (b"P5 1200 1500 255\n" + EIGHT.tobytes(), EIGHT),
        (gzip.compress(encoded(EIGHT, "PNG"), 1), EIGHT),
    ],
    ids=range(12),
)
def test_planes_keep_their_values(content, expected):
    found = read_image(content, scaling="none")
    if found.photometric == "rgb" and expected.ndim == 2:
        expected = np.dstack([expected] * 3)
    np.testing.assert_array_equal(found.array, expected)


def test_the_largest_value_of_a_pgm_is_white():
    content = b"P2\n3 2\n15\n0 1 2\n3 4 15\n"
    assert read_image(content, scaling="none").array.ravel().tolist() == [
        *(0, 1, 2),
        *(3, 4, 15),
    ]
    assert read_image(content).array.max() == 1


def test_lossy_formats_at_a_realistic_size():
    smooth = np.add.outer(np.arange(1500), np.arange(1200)) // 11
    smooth = smooth.astype(np.uint8)
    for name in ("JPEG", "AVIF", "WEBP"):
        if name == "AVIF":
            features = pytest.importorskip("PIL.features")
            if "avif" not in features.get_supported():
                continue
        found = read_image(encoded(np.dstack([smooth] * 3), name), scaling="none")
        assert np.abs(found.array - smooth[..., None]).mean() < 4


def test_npy_files(tmp_path):
    for values in (SHOWN, GREY, COLOUR):
        np.save(tmp_path / "a.npy", values)
        found = read_image(tmp_path / "a.npy", scaling="none")
        np.testing.assert_array_equal(found.array, values)
    np.save(tmp_path / "a.npy", np.array([{}, 1], dtype=object))
    with pytest.raises(ImageReadError, match="objects, which can execute code"):
        read_image(tmp_path / "a.npy")
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    with pytest.raises(ImageReadError, match="more than max_pixels"):
        read_image(content.getvalue())


def test_dicom_at_a_realistic_size(tmp_path):
    film = dataset(GREY, Modality="DX", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(
        read_image(as_bytes(film), scaling="none").array, GREY
    )
    packed = gzip.compress(as_bytes(film), 1)
    np.testing.assert_array_equal(read_image(packed, scaling="none").array, GREY)
    planes = []
    for number in range(40):
        made = plane(number, 2.0 * number)
        made.Rows = made.Columns = 512
        made.PixelData = np.full((512, 512), number, np.int16).tobytes()
        planes.append(made)
    write_series(tmp_path / "x", planes, [f"{i:02}" for i in range(40)])
    found = read_image(tmp_path / "x", scaling="none")
    assert found.array.shape == (40, 512, 512)
    np.testing.assert_array_equal(found.array[:, 7, 9], np.arange(40) - 1024)


# ---------------------------------------------------------------- cells


@pytest.mark.long
def test_objects_of_other_libraries(tmp_path):
    content = written(SCAN, tmp_path / "a.nii.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/b.nii.gz", content)
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/x/b.nii.gz", content)
    cells = [
        SCAN,
        nibabel.load(tmp_path / "a.nii.gz"),
        {"bytes": content, "path": "b.nii.gz"},
        {"bytes": None, "path": str(tmp_path / "a.nii.gz")},
        zipfile.Path(tmp_path / "a.zip", "in/b.nii.gz"),
        "memory://x/b.nii.gz",
        f"file://{tmp_path}/a.nii.gz",
        io.BytesIO(content),
        memoryview(content),
    ]
    for cell in cells:
        np.testing.assert_array_equal(read_image(cell, scaling="none").array, SHOWN)
        assert len(content_digest(cell)) == 64
    same = {content_digest(cell) for cell in cells[2:]}
    assert len(same) == 1
    embedder = ImageEmbedder(input_size=32, n_slices=2, store=None)
    vectors = embedder.fit_transform(cells)
    assert np.ptp(vectors, axis=0).max() == 0


def test_datasets_of_pydicom():
    path = pydicom.data.get_testdata_file("CT_small.dcm")
    expected = read_image(path)
    made = pydicom.dcmread(path)
    np.testing.assert_array_equal(read_image(made).array, expected.array)
    assert content_digest(made) == content_digest(made)
    assert read_metadata([made])["modality"].tolist() == ["CT"]
    bare = pydicom.Dataset()
    bare.Rows = bare.Columns = 8
    bare.PixelData = bytes(range(64))
    with pytest.warns(UserWarning, match="assumed for absent attributes"):
        np.testing.assert_array_equal(
            read_image(bare, scaling="none").array.ravel(), np.arange(64)
        )


def test_tensors_have_channels_first():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(COLOUR).permute(2, 0, 1)
    found = read_image(tensor, scaling="none")
    np.testing.assert_array_equal(found.array, COLOUR)
    assert content_digest(tensor) == content_digest(COLOUR)
    for shape, axes in [
        ((1, 30, 40), "YX"),
        ((3, 9, 30, 40), "ZYXC"),
        ((1, 9, 30, 40), "ZYX"),
        ((9, 30, 40), "ZYX"),
        ((30, 40, 3), "YXC"),
        ((30, 40), "YX"),
    ]:
        assert read_image(torch.zeros(shape)).axes == axes
    half = torch.full((30, 40), 0.5, dtype=torch.bfloat16, requires_grad=True)
    assert (read_image(half).array == 0.5).all()
    with pytest.raises(ImageReadError, match="complex"):
        read_image(torch.zeros((3, 3), dtype=torch.complex64))


def test_arrays_with_channels_first_are_pointed_out():
    with pytest.warns(UserWarning, match=r"\(3, 40, 50\) is read as 3 grey slices"):
        assert read_image(np.zeros((3, 40, 50), np.uint8)).axes == "ZYX"
    with pytest.raises(ImageReadError, match=r"moveaxis\(array, 0, -1\)"):
        read_image(np.zeros((3, 9, 40, 50)))


def test_mappings_without_content_are_missing():
    assert is_missing({"bytes": None, "path": None})
    assert not is_missing({"bytes": b"x", "path": None})
    assert not is_missing({"other": None})
    cells = [
        {"bytes": encoded(EIGHT, "PNG"), "path": None},
        {"bytes": None, "path": ""},
    ]
    vectors = ImageEmbedder(input_size=32, store=None).fit_transform(cells)
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("memory://nothing/here.png", "There is no image at the URL"),
        ("nonsense://x/Doe.png", r"\(nonsense://\) cannot be read: ValueError"),
    ],
)
def test_urls_that_cannot_be_read(url, match):
    pytest.importorskip("fsspec")
    with pytest.raises(ImageReadError, match=match) as caught:
        read_image(url)
    assert "Doe" not in str(caught.value)


@pytest.mark.long
def test_lazy_images_are_shared_by_threads(tmp_path):
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.roll(EIGHT, number)).save(paths[-1])
    for _ in range(5):
        images = [Image.open(path) for path in paths] * 8
        barrier = threading.Barrier(8)

        def read(image, barrier=barrier):
            barrier.wait()
            return content_digest(image), read_image(image, scaling="none").array.sum()

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(read, images))
        assert len(set(found)) == 4


# ---------------------------------------------------------------- options


def test_nan_voxels_are_background_if_asked(tmp_path):
    values = VOXELS[:40, :40, :40].astype(np.float32)
    values[:20] = np.nan
    values[20, 0, 0] = np.inf
    content = nibabel.Nifti1Image(values, AFFINE).to_bytes()
    n_bad = 20 * 40 * 40 + 1
    with pytest.raises(ImageReadError, match=f"{n_bad} NaN .*Pass nan='min'"):
        read_image(content)
    found = read_image(content, nan="min")
    assert found.metadata["n_padded"] == n_bad
    assert found.array[..., :20].max() == 0  # columns run as stored
    assert found.array.max() == 1
    for scaling in ("zscore", "none"):
        plain = read_image(content, nan="min", scaling=scaling).array
        assert plain[0, 0, 0] == plain.min()
    embedder = ImageEmbedder(input_size=32, n_slices=2, store=None)
    with pytest.raises(ImageReadError, match="nan='min'"):
        embedder.fit_transform([content])
    embedder.set_params(read_params={"nan": "min"})
    assert np.isfinite(embedder.fit_transform([content])).all()
    with pytest.raises(ValueError, match="nan must be"):
        read_image(content, nan="mean")


def test_options_of_reading_are_reachable_from_encoders(tmp_path):
    four = nibabel.Nifti1Image(RNG.integers(0, 99, (9, 8, 7, 3)).astype("i2"), AFFINE)
    content = four.to_bytes()
    encoder = RadiomicsEncoder(("first_order",), read_params={"volume_index": 2})
    found = encoder.fit_transform([content])
    third = nibabel.Nifti1Image(np.asarray(four.dataobj)[..., 2], AFFINE)
    expected = encoder.set_params(read_params=None).fit_transform([third.to_bytes()])
    np.testing.assert_array_equal(found, expected)
    store = tmp_path / "store"
    embedder = ImageEmbedder(input_size=32, n_slices=2, store=store)
    vectors = [
        embedder.set_params(read_params={"volume_index": i}).fit_transform([content])
        for i in range(3)
    ]
    assert len({vector.tobytes() for vector in vectors}) == 3
    embedder.set_params(read_params={"max_pixels": 10, "volume_index": 0})
    with pytest.raises(ImageReadError, match="more than max_pixels=10"):
        embedder.set_params(store=None).fit_transform([content])
    for wrong in ({"pixels": 3}, "nan", {"nan": 3}, {"max_pixels": 0}):
        with pytest.raises(ValueError, match="ImageEmbedder: "):
            embedder.set_params(read_params=wrong).fit([content])


def test_large_limits_are_settable():
    content = encoded(np.zeros((300, 400), np.uint8), "PNG")
    assert read_image(content, max_pixels=120_000).array.shape == (300, 400)
    with pytest.raises(ImageReadError, match="max_pixels=119999"):
        read_image(content, max_pixels=119_999)


# ---------------------------------------------------------------- damaged and refused


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return len(data).to_bytes(4, "big") + kind + data + checksum.to_bytes(4, "big")


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"a\0b", 1),
    ],
    ids=["zTXt", "iTXt", "iCCP", "checksum"],
)
def test_chunks_of_png_that_do_not_matter(extra):
    content = encoded(EIGHT, "PNG")
    found = read_image(content[:33] + extra + content[33:], scaling="none")
    np.testing.assert_array_equal(found.array, EIGHT)


def test_truncated_jpegs_are_read_if_pillow_is_told_to(monkeypatch):
    content = encoded(COLOUR, "JPEG")[:-3000]
    with pytest.raises(ImageReadError, match="truncated|damaged"):
        read_image(content)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert read_image(content).array.shape == (1500, 1200, 3)


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=GREY)
    return file.getvalue()


def animation() -> bytes:
    frames = [Image.fromarray(np.roll(EIGHT[:9, :9], i)) for i in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (archive, r"zip archive \(or an NPZ file\).*zipfile.Path"),
        (animation, "animation of 3 frames"),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(400), "HDF5 file.*h5py"),
        (lambda: b"MATLAB 5.0 MAT-file" + bytes(400), "scipy.io.loadmat"),
        (lambda: b"\x80\x04\x95" + bytes(400), "pickle.*execute code"),
        (lambda: b"PAR1" + bytes(400), "read_parquet"),
        (lambda: b"%PDF-1.7" + bytes(400), "PDF document"),
        (lambda: b"\0\0\0\x18ftypheic" + bytes(400), "HEIF"),
        (lambda: b"\0\0\0\x18ftypisom" + bytes(400), "video"),
        (lambda: b"\x5c\x01\0\0" + bytes(400), "Analyze 7.5"),
        (lambda: b"CDF\x01" + bytes(400), "MINC.*nibabel"),
        (lambda: gzip.compress(gzip.compress(b"x")), "compressed twice"),
        (lambda: gzip.compress(b"name,age\n"), "compressed with gzip.*looks like text"),
    ],
)
def test_formats_that_are_not_read_are_named(make, match):
    with pytest.raises(ImageReadError, match=match):
        read_image(make())


def test_windows_in_hounsfield_units_do_not_fit_bytes():
    for name in ("brain", "lung"):
        with pytest.warns(UserWarning, match=f"'{name}' is in Hounsfield units, but"):
            read_image(EIGHT, window=name)
    with pytest.warns(UserWarning, match="does not fit the values"):
        read_image(GREY, window=(10_000, 100))
    ct = as_bytes(dataset(GREY, RescaleSlope=1, RescaleIntercept=-1024))
    assert read_image(ct, window="brain").metadata["scaling"] == "window"


def test_a_probable_ct_is_pointed_out():
    ct = np.array(VOXELS[:9, :9, :9] - 1000)
    content = nibabel.Nifti1Image(ct, AFFINE).to_bytes()
    with pytest.warns(UserWarning, match="probably a CT"):
        read_image(content)
    found = read_image(content, scaling="hounsfield")
    assert found.metadata["limits"] == (-1024, 3071)
    colour = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ImageReadError, match="requires a grey image"):
        read_image(colour, scaling="hounsfield")
    pet = as_bytes(dataset(GREY, Modality="PT", Units="BQML"))
    with pytest.raises(ImageReadError, match="requires Hounsfield units.*BQML"):
        read_image(pet, scaling="hounsfield")


def test_a_column_with_one_missing_file_says_how_many(tmp_path):
    paths = pd.Series([str(tmp_path / f"{i}.png") for i in range(4)], name="scan")
    Image.fromarray(EIGHT).save(paths[0])
    with pytest.raises(ImageReadError, match=r"3 of the 4 cells of column 'scan'"):
        ImageEmbedder(input_size=32, store=None).fit_transform(paths)
