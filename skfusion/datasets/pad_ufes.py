"""Loader of PAD-UFES-20: smartphone photos of skin lesions with clinical data.

The data are read from a folder that the user has downloaded from Mendeley Data, or
from a subset of it. The result has one row per photo.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skfusion._validation import check_option
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["load_pad_ufes_20"]

# Name of the table in the folder -> its column of image file names.
_LAYOUTS = {"metadata.csv": "img_id", "data.csv": "image"}
_DIAGNOSES = ["ACK", "BCC", "MEL", "NEV", "SCC", "SEK"]
_CANCERS = ["BCC", "MEL", "SCC"]
# Recorded for every patient: no value is missing in either class.
_CLEAN_WORDS = ["region", "itch", "grew", "hurt", "changed", "bleed", "elevation"]
_LEAKY_NUMBERS = ["fitspatrick", "diameter_1", "diameter_2"]
_LEAKY_WORDS = [
    "gender",
    "smoke",
    "drink",
    "pesticide",
    "background_father",
    "background_mother",
    "skin_cancer_history",
    "cancer_history",
    "has_piped_water",
    "has_sewage_system",
    "biopsed",
]
_IDS = ["patient_id", "lesion_id"]

_DESCR = """\
PAD-UFES-20: skin lesions photographed with smartphones, with clinical variables
================================================================================
One row per photo. A lesion can have several photos, and a patient several lesions.
Six diagnoses: actinic keratosis (ACK), basal cell carcinoma (BCC), melanoma (MEL),
nevus (NEV), squamous cell carcinoma (SCC, Bowen's disease included) and seborrheic
keratosis (SEK). BCC, MEL and SCC are malignant. All cancers are proven by biopsy.
Some photos show a surgeon's pen marks around the lesion, a known shortcut for models.
"""
_CAVEAT = (
    "PAD-UFES-20: some photos show a surgeon's pen marks around the lesion, which can "
    "tell a model that a lesion was to be removed."
)
_LICENCE = "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"
_CITATION = """\
Pacheco AGC, Lima GR, Salomao AS, et al. PAD-UFES-20: a skin lesion dataset composed of
patient data and clinical images collected from smartphones. Data in Brief 32:106221,
2020. doi:10.1016/j.dib.2020.106221. Data: Mendeley Data V1, doi:10.17632/zr7vgbcyr2.1
"""


def load_pad_ufes_20(
    path: str | os.PathLike[str] | None = None,
    *,
    target: Literal["malignant", "diagnostic"] = "malignant",
    include_leaky: bool = False,
) -> Bunch:
    """Load PAD-UFES-20: skin lesion photos (paths), clinical data and diagnoses.

    Parameters
    ----------
    path : path-like, default=None
        Folder of the data: either Mendeley's layout (``metadata.csv`` and the
        folders ``imgs_part_1`` to ``imgs_part_3``, directly or below ``images``), or
        a subset (``data.csv`` and ``images``). None looks for ``pad_ufes_20`` and
        then ``pad_ufes_20_subset`` in the folder that the environment variable
        ``SKFUSION_DATA`` names.
    target : {"malignant", "diagnostic"}, default="malignant"
        ``"malignant"`` is 1 for BCC, MEL and SCC. ``"diagnostic"`` is one of the six
        diagnoses.
    include_leaky : bool, default=False
        Whether to include columns that leak the outcome. ``biopsed`` leaks by design,
        because every cancer was biopsied. ``gender``, ``fitspatrick``, ``diameter_1``,
        ``diameter_2``, ``smoke``, ``drink``, ``pesticide``, ``background_*``,
        ``*_history`` and ``has_*`` leak by their missing values. They are missing for
        most lesions without a biopsy, all of them benign, and rarely for others. A
        model therefore learns who was biopsied.

    Returns
    -------
    sklearn.utils.Bunch
        With the fields

        - ``data``: DataFrame, one row per photo: ``patient_id``, ``image`` (a path,
          or None if the file is missing), ``age`` (years), and ``region``, ``itch``,
          ``grew``, ``hurt``, ``changed``, ``bleed`` and ``elevation`` as text
          (``"UNK"`` if the patient did not know)
        - ``target``: int ndarray, the position in ``target_names``
        - ``groups``: ndarray of patient ids, for group-aware splits
        - ``target_names``, ``image_columns``, ``ehr_columns``, ``group_column``
        - ``DESCR``, ``licence``, ``citation``. A caveat in ``data.attrs["caveat"]`` is
          repeated by `compare_fusion`.

    Raises
    ------
    ValueError
        If no folder is given or found, its layout is unknown, a column is missing, a
        diagnosis is unknown, a patient id is empty, or no photo is found.

    Warns
    -----
    DataWarning
        If photos in the table are missing, with their number.

    References
    ----------
    Pacheco et al., Data in Brief 32:106221, 2020, doi:10.1016/j.dib.2020.106221.
    Data: doi:10.17632/zr7vgbcyr2.1 (CC BY 4.0).

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from skfusion.datasets import load_pad_ufes_20
    >>> header = "patient_id,lesion_id,img_id,age,region,itch,grew,hurt,changed,"
    >>> header += "bleed,elevation,diagnostic"
    >>> row = "PAT_1,2,PAT_1_2_3.png,61,NOSE,True,UNK,False,True,False,True,BCC"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     photos = Path(folder) / "imgs_part_1"
    ...     photos.mkdir()
    ...     _ = (photos / "PAT_1_2_3.png").write_bytes(b"a photo")
    ...     _ = (Path(folder) / "metadata.csv").write_text(header + os.linesep + row)
    ...     lesions = load_pad_ufes_20(folder)
    >>> lesions.data[["age", "grew"]]
        age grew
    0  61.0  UNK
    >>> lesions.target
    array([1])
    """
    check_option(target, "target", ("malignant", "diagnostic"), "load_pad_ufes_20")
    folder, table = _find_table(path)
    numbers = ["age", *(_LEAKY_NUMBERS if include_leaky else [])]
    words = [*_CLEAN_WORDS, *(_LEAKY_WORDS if include_leaky else [])]
    frame = _read_table(folder / table, _LAYOUTS[table], numbers, words)
    names = frame[_LAYOUTS[table]].map(lambda name: Path(name).name)
    ehr_columns = [numbers[0], *words[: len(_CLEAN_WORDS)]]
    ehr_columns += [*numbers[1:], *words[len(_CLEAN_WORDS) :]]
    data = frame[["patient_id", *ehr_columns]].copy()
    data.insert(1, "image", _find_photos(folder, names))
    data.attrs["caveat"] = _CAVEAT
    diagnosis = frame["diagnostic"]
    if target == "malignant":
        codes = diagnosis.isin(_CANCERS).to_numpy(dtype=np.int64)
        target_names = ["benign", "malignant"]
    else:
        codes = diagnosis.map(_DIAGNOSES.index).to_numpy(dtype=np.int64)
        target_names = list(_DIAGNOSES)
    return Bunch(
        data=data,
        target=codes,
        groups=data["patient_id"].to_numpy(dtype=object),
        target_names=target_names,
        image_columns=["image"],
        ehr_columns=ehr_columns,
        group_column="patient_id",
        DESCR=_DESCR,
        licence=_LICENCE,
        citation=_CITATION,
    )


def _find_table(path: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Return the folder of the data and the name of its table."""
    if path is not None:
        candidates = [Path(path)]
        where = "the given folder"
    elif os.environ.get("SKFUSION_DATA"):
        root = Path(os.environ["SKFUSION_DATA"])
        candidates = [root / "pad_ufes_20", root / "pad_ufes_20_subset"]
        where = "'pad_ufes_20' or 'pad_ufes_20_subset' in the folder of SKFUSION_DATA"
    else:
        raise ValueError(
            "load_pad_ufes_20 needs the folder of the data: pass path=..., or set the "
            "environment variable SKFUSION_DATA to the folder that contains "
            "'pad_ufes_20'. The data are at https://doi.org/10.17632/zr7vgbcyr2.1"
        )
    for folder in candidates:
        for table in _LAYOUTS:
            if (folder / table).is_file():
                return folder, table
    there = any(folder.is_dir() for folder in candidates)
    raise ValueError(
        f"PAD-UFES-20 not found in {where}, which "
        f"{'has' if there else 'does not exist. Expected'} "
        f"{'neither metadata.csv nor data.csv. Expected ' if there else ''}"
        "metadata.csv with the folders imgs_part_1 to imgs_part_3 (as downloaded and "
        "unpacked), or data.csv with the folder images."
    )


def _read_table(
    path: Path, name_column: str, numbers: list[str], words: list[str]
) -> pd.DataFrame:
    # Answers are read as text, because columns contain True, False and UNK. Columns
    # without UNK must have the same type.
    text = [*_IDS, name_column, *words, "diagnostic"]
    # Absolute, because pandas would replace a folder named "~user".
    place = os.path.abspath(path)
    frame = pd.read_csv(place, dtype=dict.fromkeys(text, "str"))
    missing = [c for c in [*text, *numbers] if c not in frame]
    if missing:
        raise ValueError(
            f"{path.name} lacks the columns {missing}. It has {frame.shape[1]} columns "
            "and is not the table of PAD-UFES-20."
        )
    for column in ["patient_id", name_column, "diagnostic"]:
        empty = np.flatnonzero(frame[column].isna())
        if len(empty):
            raise ValueError(
                f"{path.name}: column {column!r} is empty in {len(empty)} rows, first "
                f"at positions {empty[:5].tolist()}. Remove these rows."
            )
    unknown = np.flatnonzero(~frame["diagnostic"].isin(_DIAGNOSES))
    if len(unknown):
        raise ValueError(
            f"{path.name}: the diagnosis of {len(unknown)} rows is not one of "
            f"{_DIAGNOSES}, first at positions {unknown[:5].tolist()}."
        )
    for column in numbers:
        # Coerced and compared, because the error of to_numeric would quote the cell.
        values = pd.to_numeric(frame[column], errors="coerce").astype(np.float64)
        broken = np.flatnonzero(values.isna() & frame[column].notna())
        if len(broken):
            raise ValueError(
                f"{path.name}: column {column!r} must be numeric, got other values in "
                f"{len(broken)} rows, first at positions {broken[:5].tolist()}."
            )
        frame[column] = values
    return frame


def _find_photos(folder: Path, names: pd.Series) -> pd.Series:
    """Return the path of each photo, or None if it is missing."""
    # Matched by file name, because the archives unpack to different folder depths. The
    # names are unique over all archives.
    roots = [folder / "images", *sorted(folder.glob("imgs_part_*"))]
    files = {f.name: str(f) for root in roots for f in sorted(root.rglob("*.*"))}
    paths = np.array([files.get(name) for name in names], dtype=object)
    absent = np.flatnonzero([path is None for path in paths])
    if len(absent) == len(paths):
        raise ValueError(
            f"None of the {len(paths)} photos in the table was found, got "
            f"{len(files)} other files below images and imgs_part_*. Unpack the "
            "folders imgs_part_1 to imgs_part_3 (or images) next to the table."
        )
    if len(absent):
        warn_user(
            f"{len(absent)} of {len(paths)} photos are missing, first at row positions "
            f"{absent[:5].tolist()}: their cells are None. Is a folder imgs_part_* "
            "not unpacked?",
            DataWarning,
        )
    return pd.Series(paths, index=names.index, dtype=object)
