"""Checks of images: copies, near copies, and how they were recorded."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.fft import dctn

from skfusion._progress import progress
from skfusion.evaluation.guidelines.cases import Outcome
from skfusion.evaluation.guidelines.column_checks import add_site_finding
from skfusion.evaluation.guidelines.findings import Findings
from skfusion.evaluation.guidelines.row_checks import Folds, as_times
from skfusion.image.cells.bags import unpack
from skfusion.image.reading.files import ImageReadError, is_missing
from skfusion.image.reading.metadata import read_metadata
from skfusion.image.reading.read import MedicalImage, content_digest, read_image

__all__ = [
    "ImageKeys",
    "check_image_times",
    "check_images",
    "perceptual_hash",
    "read_image_keys",
    "time_column",
]


#: Largest number of different bits of 64 of two images that look alike.
NEAR_DISTANCE = 4
#: Share of the rows with similar images above which all images of a column are alike.
MOST_SIMILAR = 0.2
# Pairs of similar images, per image, from which no more are counted.
MOST_PAIRS = 20
#: Images of a column above which pixels are not decoded unless asked for.
MOST_DECODED = 5_000
# Size to which images are averaged, and of the frequencies that become bits.
N_PIXELS = 32
N_FREQUENCIES = 8
# Share of the mean intensity below which the contrast of an image is no structure.
NO_STRUCTURE = 1e-3
N_COMPARED = 1_024  # images whose distances are computed at a time
ACQUIRED = "acquired"
HEADER = ("format", "modality", "view", "manufacturer", "model", "kvp")


@dataclass(frozen=True)
class ImageKeys:
    """Keys of the images of a column.

    Attributes
    ----------
    rows : ndarray of int of shape (n_images,)
        Position of the row of each image.
    content : ndarray of int of shape (n_images,)
        Equal numbers for images whose files or pixels are equal, -1 for images that
        cannot be read.
    hashes : ndarray of uint64 of shape (n_images,)
        Perceptual hash of each image.
    hashed : ndarray of bool of shape (n_images,)
        Whether an image has a perceptual hash.
    recorded : dict of str to ndarray of int of shape (n_images,)
        How images were recorded, e.g. their size or scanner, as categories.
    times : list of n_images
        Time of each image in its bag, or else of the acquisition in its header, NaT if
        both are unknown. A date is the start of its day.
    """

    rows: np.ndarray
    content: np.ndarray
    hashes: np.ndarray
    hashed: np.ndarray
    recorded: dict[str, np.ndarray]
    times: list[Any]


def perceptual_hash(image: MedicalImage) -> int | None:
    """Return a hash of 64 bits that hardly changes if an image is resized or recoded.

    An image is averaged to 32 x 32 pixels. A bit is whether one of the 8 x 8 lowest
    frequencies of its cosine transform is above their median. Of a volume, the middle
    plane is used.

    Parameters
    ----------
    image : MedicalImage
        The image.

    Returns
    -------
    int or None
        None for an image without structure, such as one grey level.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import read_image
    >>> from skfusion.evaluation.guidelines.image_checks import perceptual_hash
    >>> pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    >>> small = read_image(pixels.repeat(2, axis=0).repeat(2, axis=1))
    >>> perceptual_hash(read_image(pixels)) == perceptual_hash(small)
    True
    """
    plane = np.asarray(image.array, dtype=np.float64)
    if image.axes.endswith("C"):
        plane = plane.mean(axis=-1)
    if plane.ndim == 3:
        plane = plane[len(plane) // 2]
    small = _averaged(_averaged(plane).T).T
    low = dctn(small, norm="ortho")[:N_FREQUENCIES, :N_FREQUENCIES].reshape(-1)
    scale = max(abs(float(low[0])), N_PIXELS * float(np.abs(small).max()))
    if not scale or np.abs(low[1:]).max() <= NO_STRUCTURE * scale:
        return None
    bits = low > np.median(low[1:])
    return int(np.packbits(bits).view(">u8")[0])


def _averaged(plane: np.ndarray) -> np.ndarray:
    """Average the rows of a plane to 32, also if it has fewer."""
    total = np.zeros((len(plane) + 1, plane.shape[1]))
    np.cumsum(plane, axis=0, out=total[1:])
    edges = np.linspace(0, len(plane), N_PIXELS + 1)
    below = np.minimum(edges.astype(np.intp), len(plane) - 1)
    share = (edges - below)[:, None]
    at_edges = total[below] * (1 - share) + total[below + 1] * share
    return np.diff(at_edges, axis=0) / (len(plane) / N_PIXELS)


def read_image_keys(
    cells: Sequence[Any], *, decode: bool, title: str, verbose: int
) -> ImageKeys:
    """Read the images of a column once and return their keys.

    Parameters
    ----------
    cells : sequence of n cells
        Images, bags of images or missing values.
    decode : bool
        Whether to decode the pixels. Otherwise only equal files are found.
    title : str
        Title of the progress.
    verbose : int
        Whether to show the progress.

    Returns
    -------
    ImageKeys
    """
    bags = unpack(cells)
    present = [not is_missing(image) for image in bags.images]
    images = [image for image, there in zip(bags.images, present, strict=True) if there]
    found = []
    with (
        warnings.catch_warnings(),
        progress(len(images), verbose=verbose, title=title, unit="image") as advance,
    ):
        warnings.simplefilter("ignore")  # those of the header, which encoders issue
        for image in images:
            found.append(_keys_of(image, decode))
            advance(1)
    table = pd.DataFrame(found, columns=["raw", "pixels", "hash", "size"], dtype=object)
    headers = _headers(
        [image if one[0] else None for image, one in zip(images, found, strict=True)]
    )
    table = pd.concat([table, headers], axis=1)
    hashes = table["hash"].map(lambda one: 0 if one is None else one)
    given = [time for time, there in zip(bags.times, present, strict=True) if there]
    times = [
        stated if time is None else time
        for time, stated in zip(given, headers[ACQUIRED], strict=True)
    ]
    recorded = {
        name: pd.factorize(table[name].map(str))[0] for name in ("size", *HEADER)
    }
    return ImageKeys(
        bags.rows[np.array(present, dtype=bool)],
        _joined(table["raw"], table["pixels"]),
        hashes.to_numpy(dtype=np.uint64),
        table["hash"].notna().to_numpy(),
        recorded,
        times,
    )


def _keys_of(image: Any, decode: bool) -> tuple[Any, ...]:
    """Return digests, hash and size of an image, None where it has none."""
    try:
        raw = content_digest(image)
    except (ImageReadError, TypeError, OSError):
        return (None, None, None, None)
    if not decode:
        return (raw, None, None, None)
    try:
        pixels = read_image(image, scaling="none", nan="min")
    except (ImageReadError, ValueError, MemoryError):
        return (raw, None, None, None)
    array = np.ascontiguousarray(pixels.array)
    digest = hashlib.sha256(f"{pixels.axes} {array.shape}".encode())
    digest.update(array.tobytes())
    size = f"{pixels.axes} {array.shape} {pixels.metadata.get('dtype')}"
    return (raw, digest.hexdigest(), perceptual_hash(pixels), size)


def _headers(images: list[Any]) -> pd.DataFrame:
    """Return how images were recorded, an empty row for those that cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the header, which encoders issue
        try:
            return read_metadata(images)[[*HEADER, ACQUIRED]]
        except (ImageReadError, TypeError, OSError):
            pass  # of one image, found below
        rows = []
        for image in images:
            try:
                found = read_metadata([image]).iloc[0]
                rows.append(found[[*HEADER, ACQUIRED]].tolist())
            except (ImageReadError, TypeError, OSError):
                rows.append([None] * len(HEADER) + [pd.NaT])
    return pd.DataFrame(rows, columns=[*HEADER, ACQUIRED], dtype=object)


def _joined(raw: pd.Series, pixels: pd.Series) -> np.ndarray:
    """Return numbers that are equal if the files or the pixels are, -1 if unread."""
    codes = pd.factorize(raw)[0]
    by_pixels = pd.factorize(pixels)[0]
    there = (codes >= 0) & (by_pixels >= 0)
    # Equal files have equal pixels, so the first file of the pixels stands for all.
    first = pd.Series(codes[there]).groupby(by_pixels[there]).transform("min")
    codes[there] = first.to_numpy()
    return codes


# -- findings -------------------------------------------------------------------------


def check_images(
    column: Any,
    keys: ImageKeys,
    findings: Findings,
    folds: Folds | None,
    outcomes: list[Outcome],
) -> None:
    """Find copies, near copies and traces of the recording in a column of images.

    Parameters
    ----------
    column : column label
        The column.
    keys : ImageKeys
        Keys of its images.
    findings : Findings
        The findings.
    folds : list of (ndarray, ndarray) or None
        Folds.
    outcomes : list of Outcome
        The outcomes.
    """
    _check_copies(column, keys, findings, folds)
    cases = findings.cases
    near = _near_pairs(keys, cases.patients[keys.rows])
    _check_near(column, keys, near, findings, folds)
    for name, codes in keys.recorded.items():
        of_rows = np.zeros(cases.n_rows, dtype=np.intp)
        # The first image of a row, which is written last.
        of_rows[keys.rows[::-1]] = codes[::-1] + 1
        if len(np.unique(codes)) > 1:
            add_site_finding(
                f"{column} ({name} of the image)", of_rows, findings, outcomes
            )
    unread = _mask(keys.rows[keys.content < 0], cases.n_rows)
    if unread.any():
        findings.add(
            "images not read",
            "note",
            [column],
            unread,
            "An image of {rows} rows cannot be read, and was not checked.",
            "Correct the paths or files, and run the audit again.",
        )


def check_image_times(
    column: Any,
    keys: ImageKeys,
    findings: Findings,
    index_time: pd.Series,
    linked: pd.Series | None = None,
) -> str:
    """Find images that were acquired at or after the index time.

    Parameters
    ----------
    column : column label
        The column.
    keys : ImageKeys
        Keys of its images.
    findings : Findings
        The findings.
    index_time : Series of shape (n_samples,)
        Index time of each row.
    linked : Series of shape (n_samples,) or None, default=None
        Time of the latest image of each row, as `link_images` returns. It counts beside
        the times of `keys`.

    Returns
    -------
    str
        Why it was not checked, ``""`` if it was.
    """
    at = as_times(index_time)
    if at is None:
        return "the index time is not a time"
    # `as_times` returns times without a zone as if they were in UTC.
    has_zone = _has_zone(index_time.dropna().iloc[0])
    rows, times = list(keys.rows), list(keys.times)
    readable = None if linked is None else as_times(linked)
    if linked is not None and readable is not None:
        with_image = np.unique(keys.rows)
        rows += list(with_image)
        times += list(linked.where(readable.notna(), None).iloc[with_image])
    late, n_other = np.zeros(len(index_time), dtype=bool), 0
    n_known = 0
    for row, time in zip(rows, times, strict=True):
        if pd.isna(time) or pd.isna(at.iloc[row]):
            continue
        n_known += 1
        if _has_zone(time) != has_zone:
            n_other += 1
        else:
            late[row] |= pd.to_datetime(time, utc=True) >= at.iloc[row]
    if late.any():
        findings.add(
            "images after the index time",
            "error",
            [column],
            late,
            "{rows} rows of {patients} patients have an image that was acquired at or "
            "after the index time, at which the prediction is made.",
            "Link images by skfusion.cohorts.link_images, which takes those that were "
            "available before the index time.",
        )
    if not n_known:
        return (
            "no time of an image is known, keep the column "
            f"{time_column(column)!r} of link_images"
        )
    if n_other == n_known:
        return "only the images, or only the index times, have a time zone"
    return ""


def time_column(column: Any) -> str:
    """Return the column in which `link_images` writes the time of the images."""
    return f"{column}_time"


def _has_zone(time: Any) -> bool:
    try:
        return pd.Timestamp(time).tzinfo is not None
    except (ValueError, TypeError):
        return False


def _check_copies(
    column: Any, keys: ImageKeys, findings: Findings, folds: Folds | None
) -> None:
    cases = findings.cases
    content, patient = keys.content, cases.patients[keys.rows]
    counts = np.bincount(content[content >= 0], minlength=1)
    twice = (content >= 0) & (counts[np.maximum(content, 0)] > 1)
    if not twice.any():
        return
    table = pd.DataFrame({"content": content, "patient": patient, "row": keys.rows})
    several = (table.groupby("content")["patient"].transform("nunique") > 1).to_numpy()
    apart = (table.groupby("content")["row"].transform("nunique") > 1).to_numpy()
    across = np.zeros(cases.n_rows, dtype=bool)
    if folds is not None:
        across = _images_across(
            keys.rows, np.where(twice, content, -1), folds, cases.n_rows
        )
    of_others = _mask(keys.rows[twice & several], cases.n_rows)
    remedy = (
        "Keep one of the copies, or give both the same patient id. If the copies show "
        "a placeholder, set the cells to missing."
    )
    if cases.known_patients and of_others.any():
        findings.add(
            "duplicate images",
            "error",
            [column],
            of_others,
            "{rows} rows of {patients} patients have an image that another patient "
            "has as well, pixel by pixel.",
            remedy,
        )
    rest = across & ~(of_others if cases.known_patients else False)
    if rest.any():
        findings.add(
            "duplicate images",
            "error",
            [column],
            rest,
            "{rows} test rows have an image that is also in the training part of the "
            "same fold.",
            remedy,
        )
        return
    within = _mask(keys.rows[twice & apart], cases.n_rows) & ~across
    if cases.known_patients:
        within &= ~of_others
    if within.any():
        findings.add(
            "duplicate images",
            "note" if cases.known_patients else "warning",
            [column],
            within,
            "{rows} rows of {patients} patients share an image with another row"
            + (" of the same patient." if cases.known_patients else "."),
            "Check that the rows are meant to be different cases."
            if cases.known_patients
            else "Pass groups, so that copies stay in one fold.",
        )


def _images_across(
    rows: np.ndarray, content: np.ndarray, folds: Folds, n_rows: int
) -> np.ndarray:
    """Return test rows with an image that is also in the training part of a fold."""
    found = np.zeros(n_rows, dtype=bool)
    for train, test in folds:
        in_train, in_test = _mask(train, n_rows)[rows], _mask(test, n_rows)[rows]
        known = np.unique(content[in_train & (content >= 0)])
        found[rows[in_test & np.isin(content, known)]] = True
    return found


def _near_pairs(keys: ImageKeys, patient: np.ndarray) -> np.ndarray | None:
    """Return pairs of images of different patients that look alike, but are no copies.

    Returns
    -------
    ndarray of shape (n_pairs, 2) or None
        Positions of the images. None if there are so many pairs that the hash does not
        separate the images.
    """
    chosen = np.flatnonzero(keys.hashed)
    hashes, content, patient = (
        part[chosen] for part in (keys.hashes, keys.content, patient)
    )
    pairs = [np.zeros((0, 2), dtype=np.intp)]
    n_pairs = 0
    for start in range(0, len(chosen), N_COMPARED):
        stop = start + N_COMPARED
        alike = (
            np.bitwise_count(hashes[start:stop, None] ^ hashes[None, start:])
            <= NEAR_DISTANCE
        )
        alike &= content[start:stop, None] != content[None, start:]
        alike &= patient[start:stop, None] != patient[None, start:]
        first, second = np.nonzero(np.triu(alike))
        pairs.append(np.column_stack([chosen[first + start], chosen[second + start]]))
        n_pairs += len(first)
        if n_pairs > MOST_PAIRS * len(chosen):
            return None
    return np.concatenate(pairs)


def _check_near(
    column: Any,
    keys: ImageKeys,
    pairs: np.ndarray | None,
    findings: Findings,
    folds: Folds | None,
) -> None:
    cases = findings.cases
    if pairs is None:
        pairs = np.zeros((0, 2), dtype=np.intp)
        rows = np.ones(cases.n_rows, dtype=bool)
    else:
        rows = _mask(keys.rows[pairs.reshape(-1)], cases.n_rows)
    if rows.sum() > MOST_SIMILAR * len(np.unique(keys.rows)):
        findings.add(
            "similar images",
            "note",
            [column],
            rows,
            "{rows} rows have an image with the perceptual hash of another one, or "
            "nearly so. The hash does not separate the images of this column, and is "
            "no sign of a copy.",
            "Nothing, if the images are masks or of one standard view.",
        )
        return
    if not rows.any():
        return
    where = "of another patient" if cases.known_patients else "of another row"
    text = (
        f"{{rows}} rows of {{patients}} patients have an image that looks like one "
        f"{where} (at most {NEAR_DISTANCE} of 64 bits of a perceptual hash differ)"
    )
    if folds is not None and _near_across(keys.rows[pairs], folds, cases.n_rows):
        text += ", also across folds"
    findings.add(
        "similar images",
        "note",
        [column],
        rows,
        text + ".",
        "Look at some pairs. Images of one standard view can be similar. Recoded or "
        "cropped copies must belong to one patient.",
    )


def _near_across(pairs: np.ndarray, folds: Folds, n_rows: int) -> bool:
    first, second = pairs.T
    for train, test in folds:
        in_train, in_test = _mask(train, n_rows), _mask(test, n_rows)
        one = in_train[first] & in_test[second]
        if (one | (in_test[first] & in_train[second])).any():
            return True
    return False


def _mask(positions: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[positions] = True
    return mask
