"""Fusion studies of the review by Huang et al. (2020) as data with sources.

Each fact has a source or is marked as unverified. The recipes in the documentation
reproduce the designs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

__all__ = ["Fact", "REVIEWED_STUDIES", "Study", "studies_frame"]


@dataclass(frozen=True)
class Fact:
    """Statement about a study, with its source.

    Attributes
    ----------
    value : str
        The statement.
    source : str or None
        Where the statement was read. None means that it is from memory and unverified.
    """

    __module__ = "skfusion.datasets"

    value: str
    source: str | None = None

    @property
    def verified(self) -> bool:
        """Whether the statement has a source."""
        return self.source is not None


@dataclass(frozen=True)
class Study:
    """Fusion study of the review.

    Attributes
    ----------
    key : str
        Short name, e.g. ``"liu2018"``.
    title : str
        First author, year and journal.
    strategies : tuple of str
        Strategies to which the review assigns the study: ``"early"``, ``"joint"``,
        ``"late"``. From memory, not verified against the review.
    membership : {"confident", "fair", "doubtful"}
        Confidence that the review includes the study. Not verified either.
    identifiers : tuple of str
        DOI, arXiv, PubMed or PMC numbers of the sources.
    recipes : tuple of str
        Pages of the documentation that reproduce the design, ``page.md#anchor``.
    facts : dict of str to Fact
        Known facts, with the keys ``task``, ``imaging``, ``records``, ``cases`` and
        ``model``. Unknown facts and numbers without a source are omitted.
    """

    __module__ = "skfusion.datasets"

    key: str
    title: str
    strategies: tuple[str, ...]
    membership: Literal["confident", "fair", "doubtful"]
    recipes: tuple[str, ...]
    identifiers: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


def _facts(source: str, **values: str | Fact) -> dict[str, Fact]:
    """Return facts with a common source, and `Fact` values unchanged."""
    return {
        name: value if isinstance(value, Fact) else Fact(value, source)
        for name, value in values.items()
    }


REVIEWED_STUDIES: tuple[Study, ...] = (
    Study(
        "thung2017",
        "Thung 2017, DLMIA workshop",
        ("early",),
        "confident",
        ("early.md#thung2017",),
        ("10.1007/978-3-319-67558-9_19",),
        _facts(
            "abstract",
            task="stages of Alzheimer's disease",
            imaging="MRI and PET, features of regions",
            records=Fact("demographic and genetic data"),
            model="multi-input multi-output network, one task per combination of "
            "modalities, trained subnet by subnet on incomplete data",
        ),
    ),
    Study(
        "an2018",
        "An 2018, Journal of Healthcare Engineering",
        ("early",),
        "confident",
        ("early.md#an2018",),
        (),
        _facts(
            "abstract",
            task="type of glaucomatous optic disc, 4 classes",
            imaging="optical coherence tomography and laser speckle flowgraphy, "
            "quantified by software; 91 parameters with the patient's background",
            records="background of the patient",
            cases="163 eyes",
            model="mRMR, then a genetic algorithm, to 9 features; neural network, "
            "naive Bayes, support vector machine, gradient-boosted trees",
        ),
    ),
    Study(
        "bhagwat2018",
        "Bhagwat 2018, PLoS Computational Biology",
        ("early",),
        "confident",
        ("early.md#bhagwat2018",),
        (),
        _facts(
            "abstract",
            task="trajectories of symptoms of Alzheimer's disease, 2 and 3 classes",
            imaging="MRI at two times, features by software",
            records="genetic and clinical scores",
            model="longitudinal Siamese network",
        ),
    ),
    Study(
        "hyun2019",
        "Hyun 2019, Clinical Nuclear Medicine",
        ("early",),
        "confident",
        ("early.md#hyun2019",),
        (),
        _facts(
            "abstract",
            task="adenocarcinoma or squamous cell carcinoma of the lung",
            imaging="PET, 40 features by radiomics software",
            records="age, sex, tumour size, smoking",
            cases="396 patients, 210 and 186",
            model="features ranked by the Gini coefficient; random forest, neural "
            "network, naive Bayes, logistic regression, support vector machine",
        ),
    ),
    Study(
        "kharazmi2018",
        "Kharazmi 2018, Skin Research and Technology",
        ("early",),
        "confident",
        ("early.md#kharazmi2018",),
        ("10.1111/srt.12422",),
        _facts(
            "abstract",
            task="basal cell carcinoma",
            imaging="dermoscopy; kernels of a sparse auto-encoder used as filters, "
            "then pooled",
            records="profile of the patient",
            model=Fact("softmax classifier"),
        ),
    ),
    Study(
        "li2019",
        "Li & Fan 2019, ISBI",
        ("early",),
        "confident",
        ("early.md#li2019",),
        ("arXiv:1901.01451",),
        _facts(
            "abstract",
            task="time from mild cognitive impairment to Alzheimer's disease",
            imaging="MRI of the hippocampus at baseline",
            records="cognitive measures over time",
            model="recurrent representation of the measures and the MRI in one "
            "prognostic model",
        ),
    ),
    Study(
        "liu2018",
        "Liu 2018, European Radiology",
        ("early",),
        "confident",
        ("early.md#liu2018",),
        ("10.1007/s00330-017-5300-3",),
        _facts(
            "abstract",
            task="rupture of an aneurysm",
            imaging="CT angiography, 13 features of shape measured by hand",
            records="2 demographic, hypertension, smoking",
            cases="594 aneurysms, 54 unruptured and 540 ruptured",
            model="neural network of two layers; ADASYN against the imbalance",
        ),
    ),
    Study(
        "nie2019",
        "Nie 2019, Scientific Reports",
        ("early",),
        "confident",
        ("early.md#nie2019",),
        ("10.1038/s41598-018-37387-9", "PMC5278791"),
        _facts(
            "introduction; abstract of the precursor of 2016 with the same design",
            task="overall survival with a brain tumour, long or short",
            imaging="several MRI channels, 3-D convolutional network",
            records="age, features of the tumour",
            model="the network's features and the record in a support vector machine",
        ),
    ),
    Study(
        "purwar2019",
        "Purwar 2019, Multimedia Tools and Applications",
        ("early",),
        "confident",
        ("early.md#purwar2019",),
        ("10.1007/s11042-019-07927-0",),
        _facts(
            "abstract",
            task="microcytic hypochromia",
            imaging="blood smears, features of a convolutional network",
            records="complete blood count",
            cases="20 patients, 10 and 10",
            model="reduced by LDA and PCA; nearest neighbours, support vector machine, "
            "neural network",
        ),
    ),
    Study(
        "tiulpin2019",
        "Tiulpin 2019, Scientific Reports",
        ("early",),
        "fair",
        ("early.md#tiulpin2019",),
        ("PMC6934728",),
        _facts(
            "abstract",
            task="progression of osteoarthritis of the knee",
            imaging="radiograph, predictions of a convolutional network",
            records="age, sex, body mass index, examination, history",
            cases="test set of 3,918 knees of 2,129 people",
            model="gradient boosting on the network's predictions and the record",
        ),
    ),
    Study(
        "eleventh",
        "The eleventh early study, not identified",
        ("early",),
        "doubtful",
        ("early.md#eleventh",),
        (),
        {
            "task": Fact(
                "response to immunotherapy (Ligero 2019, Annals of Oncology, an "
                "abstract) or cervical dysplasia (Xu 2016, MICCAI): one of the two"
            ),
            "imaging": Fact("CT radiomics, or features of a network from photographs"),
            "records": Fact("clinical data"),
            "model": Fact("one model on the joined features"),
        },
    ),
    Study(
        "kawahara2019",
        "Kawahara 2019, IEEE Journal of Biomedical and Health Informatics",
        ("joint",),
        "confident",
        ("joint.md#kawahara2019",),
        (),
        _facts(
            "abstract",
            task="seven-point criteria and diagnosis of melanoma",
            imaging="clinical and dermoscopic photograph, convolutional networks",
            records="data of the patient",
            cases="1,011 cases",
            model="multi-task network, sum of the losses of combinations of "
            "modalities; robust to what is missing when it predicts",
        ),
    ),
    Study(
        "spasov2019",
        "Spasov 2019, NeuroImage",
        ("joint",),
        "confident",
        ("joint.md#spasov2019",),
        ("PMID:30654174",),
        _facts(
            "abstract",
            task="from mild cognitive impairment to Alzheimer's disease in 3 years",
            imaging="MRI and the Jacobian of its warp, small separable 3-D network",
            records="demographic, neuropsychological and genetic data",
            model="multi-task: conversion, and Alzheimer's disease or healthy",
        ),
    ),
    Study(
        "yap2018",
        "Yap 2018, Experimental Dermatology",
        ("joint",),
        "confident",
        ("joint.md#yap2018",),
        ("PMID:30187575",),
        _facts(
            "abstract",
            task="skin lesions, 2 and 5 classes",
            imaging="dermoscopic and macroscopic photograph, convolutional networks",
            records="age, sex, location",
            cases="2,917 cases",
            model="one network on embeddings and data of the patient",
        ),
    ),
    Study(
        "yoo2019",
        "Yoo 2019, NeuroImage: Clinical",
        ("joint", "late"),
        "confident",
        ("joint.md#yoo2019-joint", "late.md#yoo2019-late"),
        (),
        _facts(
            "a quotation from the review; abstract of the precursor of 2016",
            task="from a clinically isolated syndrome to multiple sclerosis",
            imaging="masks of lesions, pretrained network",
            records=Fact("clinical and MRI measures"),
            model="joint fusion compared with late fusion",
            scaling=Fact("clinical features replicated and scaled before the join"),
            rule=Fact("late fusion by the mean"),
        ),
    ),
    Study(
        "qiu2018",
        "Qiu 2018, Alzheimer's & Dementia: DADM",
        ("late",),
        "confident",
        ("late.md#qiu2018",),
        ("10.1016/j.dadm.2018.08.013",),
        _facts(
            "abstract",
            task="mild cognitive impairment or normal",
            imaging="3 slices of MRI, one convolutional network each",
            records="Mini-Mental State Examination, logical memory",
            cases="386 people",
            model="max, mean and majority vote of the slices, majority of these, "
            "majority with two networks on the records",
        ),
    ),
    Study(
        "reda2018",
        "Reda 2018, Technology in Cancer Research & Treatment",
        ("late",),
        "confident",
        ("late.md#reda2018",),
        ("PMC5972199",),
        _facts(
            "abstract",
            task="cancer of the prostate",
            imaging="diffusion-weighted MRI, stacked auto-encoder",
            records="prostate-specific antigen, nearest neighbours",
            cases="18 patients",
            model="auto-encoder as meta-classifier on the probabilities",
        ),
    ),
)


def studies_frame() -> pd.DataFrame:
    """Return the facts about the reviewed studies as a table, one row per fact.

    Returns
    -------
    DataFrame
        With the columns ``study``, ``title``, ``strategies``, ``membership``,
        ``field``, ``value``, ``verified`` and ``source``. `membership` and
        `strategies` are from memory and not verified against the table of studies in
        the review [1]_.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> from skfusion.datasets.reviewed_studies import studies_frame
    >>> table = studies_frame()
    >>> table["study"].nunique()
    17
    >>> table.query("study == 'liu2018' and field == 'cases'")["value"].item()
    '594 aneurysms, 54 unruptured and 540 ruptured'
    """
    rows = [
        {
            "study": study.key,
            "title": study.title,
            "strategies": ", ".join(study.strategies),
            "membership": study.membership,
            "field": name,
            "value": fact.value,
            "verified": fact.verified,
            "source": fact.source,
        }
        for study in REVIEWED_STUDIES
        for name, fact in study.facts.items()
    ]
    return pd.DataFrame(rows)
