"""Fusion studies of the review by Huang et al. (2020) as data with sources.

Each fact has its own source and says what was read there, or is marked as unverified.
The recipes in the documentation reproduce the designs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

__all__ = ["Fact", "REVIEWED_STUDIES", "Study", "studies_frame"]

Read = Literal["abstract", "paper", "secondary"]


@dataclass(frozen=True)
class Fact:
    """Statement about a study, with its source.

    Attributes
    ----------
    value : str
        The statement.
    source : str or None
        Where the statement was read. None means that it is from memory.
    read : {"abstract", "paper", "secondary"} or None
        What was read: the abstract of the study, another part of its text, or a text
        other than the study, such as a precursor by the same authors or a review. None
        if `source` is None.

    Raises
    ------
    ValueError
        If only one of `source` and `read` is given, or `read` has another value.

    Examples
    --------
    >>> from skfusion.datasets import Fact
    >>> Fact("163 eyes", "record of a library", "abstract").verified
    True
    >>> Fact("softmax classifier").verified
    False
    """

    __module__ = "skfusion.datasets"

    value: str
    source: str | None = None
    read: Read | None = None

    def __post_init__(self) -> None:
        if (self.source is None) != (self.read is None):
            raise ValueError(
                "Fact: source and read must be given together, got source="
                f"{self.source!r} and read={self.read!r}."
            )
        if self.read not in (None, "abstract", "paper", "secondary"):
            raise ValueError(
                "Fact: read must be 'abstract', 'paper', 'secondary' or None, got "
                f"{self.read!r}."
            )

    @property
    def verified(self) -> bool:
        """Whether the statement was read in the study itself."""
        return self.read in ("abstract", "paper")


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
        Facts, one statement each, with keys such as ``task``, ``imaging``,
        ``records``, ``cases`` and ``model``. Unknown facts and numbers without a
        source are omitted.

    Examples
    --------
    >>> from skfusion.datasets import REVIEWED_STUDIES
    >>> study = REVIEWED_STUDIES[0]
    >>> study.key, study.strategies, study.membership
    ('thung2017', ('early',), 'confident')
    """

    __module__ = "skfusion.datasets"

    key: str
    title: str
    strategies: tuple[str, ...]
    membership: Literal["confident", "fair", "doubtful"]
    recipes: tuple[str, ...]
    identifiers: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


def _read(read: Read, source: str, **values: str) -> dict[str, Fact]:
    """Return facts that were read in the same place."""
    return {name: Fact(value, source, read) for name, value in values.items()}


def _from_memory(**values: str) -> dict[str, Fact]:
    return {name: Fact(value) for name, value in values.items()}


REVIEWED_STUDIES: tuple[Study, ...] = (
    Study(
        "thung2017",
        "Thung 2017, DLMIA workshop",
        ("early",),
        "confident",
        ("early.md#thung2017",),
        ("10.1007/978-3-319-67558-9_19",),
        _read(
            "abstract",
            "doi 10.1007/978-3-319-67558-9_19",
            task="stages of Alzheimer's disease",
            data="incomplete data of several modalities, ADNI",
            model="multi-input multi-output network, one task per combination of "
            "modalities, trained subnet by subnet",
        )
        | _from_memory(
            imaging="MRI and PET, features of regions",
            records="demographic and genetic data",
        ),
    ),
    Study(
        "an2018",
        "An 2018, Journal of Healthcare Engineering",
        ("early",),
        "confident",
        ("early.md#an2018",),
        (),
        _read(
            "abstract",
            "record of Tohoku University, article 6874765",
            task="type of glaucomatous optic disc, 4 classes",
            imaging="optical coherence tomography and laser speckle flowgraphy, "
            "quantified",
            features="91 parameters of each eye, along with the background of the "
            "patient",
            cases="163 eyes",
            learners="neural network, naive Bayes, support vector machine, "
            "gradient-boosted trees",
            selection="hybrid of mRMR and a genetic algorithm, for all learners but "
            "the trees",
            best="neural network, nine parameters",
        )
        | _from_memory(order="mRMR first, then the genetic algorithm"),
    ),
    Study(
        "bhagwat2018",
        "Bhagwat 2018, PLoS Computational Biology",
        ("early",),
        "confident",
        ("early.md#bhagwat2018",),
        (),
        _read(
            "abstract",
            "biomed.reviewer.ly",
            task="trajectories of symptoms of Alzheimer's disease, 2 and 3 classes",
            imaging="MRI at two times",
            records="genetic and clinical variables",
            cases="three ADNI cohorts, replicated in AIBL",
            model="longitudinal Siamese network with modules that combine the "
            "modalities of two times",
        )
        | _from_memory(extraction="software computes the features of MRI"),
    ),
    Study(
        "hyun2019",
        "Hyun 2019, Clinical Nuclear Medicine",
        ("early",),
        "confident",
        ("early.md#hyun2019",),
        ("10.1097/RLU.0000000000002810",),
        _read(
            "abstract",
            "doi 10.1097/RLU.0000000000002810; repository.ajou.ac.kr 201003/19967",
            task="adenocarcinoma or squamous cell carcinoma of the lung",
            imaging="PET, 40 features by the software LIFEx",
            records="age, sex, tumour size, smoking",
            cases="396 patients, 210 and 186",
            selection="clinical and radiomic features ranked, a subset "
            "selected by Gini coefficient scores of the association with the class",
            selected="sex and four features of PET were the five best",
            learners="random forest, neural network, naive Bayes, logistic "
            "regression, support vector machine",
            validation="random sampling",
        )
        | _from_memory(
            coefficient="the Gini coefficient is |2 AUROC - 1|, and not the decrease "
            "of the Gini impurity"
        ),
    ),
    Study(
        "kharazmi2018",
        "Kharazmi 2018, Skin Research and Technology",
        ("early",),
        "confident",
        ("early.md#kharazmi2018",),
        ("10.1111/srt.12422",),
        _read(
            "abstract",
            "doi 10.1111/srt.12422, title, keywords and the beginning of the abstract",
            task="basal cell carcinoma",
            imaging="dermoscopy; kernels of a sparse auto-encoder, trained without "
            "labels, used as filters",
            records="profile of the patient",
        )
        | _from_memory(
            pooling="the responses of the filters are pooled",
            model="softmax classifier",
        ),
    ),
    Study(
        "li2019",
        "Li & Fan 2019, ISBI",
        ("early",),
        "confident",
        ("early.md#li2019",),
        ("arXiv:1901.01451",),
        _read(
            "abstract",
            "arXiv 1901.01451",
            task="progression from mild cognitive impairment to Alzheimer's disease",
            imaging="MRI of the hippocampus at baseline",
            records="cognitive measures over time",
            model="recurrent representation of the measures and the MRI in one "
            "prognostic model",
        )
        | _from_memory(outcome="a model of the time to the disease"),
    ),
    Study(
        "liu2018",
        "Liu 2018, European Radiology",
        ("early",),
        "confident",
        ("early.md#liu2018",),
        ("10.1007/s00330-017-5300-3",),
        _read(
            "abstract",
            "doi 10.1007/s00330-017-5300-3",
            task="rupture of an aneurysm of the anterior communicating artery",
            imaging="CT angiography, 13 features of shape",
            records="2 demographic, hypertension, smoking",
            cases="594 aneurysms, 54 unruptured and 540 ruptured",
            model="feed-forward network of two layers",
            imbalance="ADASYN generates synthetic unruptured aneurysms",
        )
        | _from_memory(extraction="the features of shape are measured by hand"),
    ),
    Study(
        "nie2019",
        "Nie 2019, Scientific Reports",
        ("early",),
        "confident",
        ("early.md#nie2019",),
        ("10.1038/s41598-018-37387-9", "PMC5278791"),
        _read(
            "paper",
            "doi 10.1038/s41598-018-37387-9, title and introduction",
            task="overall survival with a high-grade glioma",
            imaging="several modalities of imaging before surgery, multi-channel "
            "3-D deep features",
        )
        | _read(
            "secondary",
            "abstract of the precursor of 2016, PMC5278791",
            classes="long or short survival",
            channels="T1 MRI, functional MRI and diffusion tensor imaging",
            records="clinical features",
            model="features of a 3-D convolutional network and clinical features in a "
            "support vector machine",
        )
        | _from_memory(
            variables="age, features of the tumour",
            design="the design of 2019 is that of 2016",
        ),
    ),
    Study(
        "purwar2019",
        "Purwar 2019, Multimedia Tools and Applications",
        ("early",),
        "confident",
        ("early.md#purwar2019",),
        ("10.1007/s11042-019-07927-0",),
        _read(
            "abstract",
            "doi 10.1007/s11042-019-07927-0",
            task="microcytic hypochromia",
            imaging="blood smears, features of a deep convolutional network",
            records="complete blood count",
            cases="20 patients, 10 normal and 10 with beta-thalassaemia",
            reduction="LDA and PCA of the fused data set",
            learners="nearest neighbours, support vector machine, neural network",
        ),
    ),
    Study(
        "tiulpin2019",
        "Tiulpin 2019, Scientific Reports",
        ("early",),
        "fair",
        ("early.md#tiulpin2019",),
        ("PMC6934728",),
        _read(
            "abstract",
            "PMC6934728; arXiv 1904.06236",
            task="progression of osteoarthritis of the knee",
            imaging="raw radiographs",
            records="clinical examination, medical history",
            cases="test set of 3,918 knees of 2,129 people",
            reference="logistic regression",
        )
        | _read(
            "secondary",
            "a blog on the review, AlexDewey/AlexDeweyBlog on GitHub",
            extraction="predictions of a convolutional network on the radiographs",
            model="gradient boosting on the predictions and the record",
        )
        | _from_memory(variables="age, sex, body mass index"),
    ),
    Study(
        "eleventh",
        "The eleventh early study, not identified",
        ("early",),
        "doubtful",
        ("early.md#eleventh",),
        (),
        _from_memory(
            task="response to immunotherapy (Ligero 2019, Annals of Oncology, an "
            "abstract) or cervical dysplasia (Xu 2016, MICCAI): one of the two",
            imaging="CT radiomics, or a network on photographs",
            records="clinical data",
            model="one model on the joined features",
        ),
    ),
    Study(
        "kawahara2019",
        "Kawahara 2019, IEEE Journal of Biomedical and Health Informatics",
        ("joint",),
        "confident",
        ("joint.md#kawahara2019",),
        (),
        _read(
            "abstract",
            "copy of the paper at fdocuments.in",
            task="seven-point criteria and diagnosis of melanoma",
            imaging="clinical and dermoscopic photograph, convolutional network",
            records="data of the patient",
            cases="1,011 cases",
            model="multi-task network; several losses, each of another combination of "
            "modalities; robust to what is missing when it predicts",
        )
        | _from_memory(objective="the sum of the losses"),
    ),
    Study(
        "spasov2019",
        "Spasov 2019, NeuroImage",
        ("joint",),
        "confident",
        ("joint.md#spasov2019",),
        ("PMID:30654174",),
        _read(
            "abstract",
            "PMID 30654174",
            task="from mild cognitive impairment to Alzheimer's disease in 3 years",
            imaging="MRI and the characteristics of its warp field, separable 3-D "
            "convolutions, about 550,000 parameters",
            records="demographic, neuropsychological and genetic data",
            model="multi-task: conversion, and Alzheimer's disease or healthy",
        )
        | _from_memory(warp="the characteristic is the Jacobian"),
    ),
    Study(
        "yap2018",
        "Yap 2018, Experimental Dermatology",
        ("joint",),
        "confident",
        ("joint.md#yap2018",),
        ("PMID:30187575",),
        _read(
            "abstract",
            "PMID 30187575",
            task="skin lesions: melanoma or not, and 5 classes",
            imaging="dermoscopic and macroscopic photograph",
            records="metadata of the patient",
            cases="2,917 cases",
            baseline="a classifier of one macroscopic photograph",
        )
        | _from_memory(
            variables="age, sex, location",
            model="one network on embeddings of the photographs and the metadata",
        ),
    ),
    Study(
        "yoo2019",
        "Yoo 2019, Computer Methods in Biomechanics and Biomedical Engineering",
        ("joint", "late"),
        "confident",
        ("joint.md#yoo2019-joint", "late.md#yoo2019-late"),
        (),
        _read(
            "secondary",
            "title and journal in the reference lists of two later papers",
            task="from a clinically isolated syndrome to multiple sclerosis",
            inputs="patterns of lesions; user-defined clinical and MRI features",
        )
        | _read(
            "secondary",
            "quotation of the review in a public note",
            comparison="joint fusion compared with late fusion, 0.02 higher AUROC",
        )
        | _read(
            "secondary",
            "abstract of the precursor of 2016, acemap 361300976",
            imaging="masks of lesions, distance transform, network pretrained without "
            "labels",
        )
        | _from_memory(
            scaling="clinical features replicated and scaled before the join",
            rule="late fusion by the mean",
        ),
    ),
    Study(
        "qiu2018",
        "Qiu 2018, Alzheimer's & Dementia: DADM",
        ("late",),
        "confident",
        ("late.md#qiu2018",),
        ("10.1016/j.dadm.2018.08.013",),
        _read(
            "abstract",
            "doi 10.1016/j.dadm.2018.08.013",
            task="mild cognitive impairment or normal",
            imaging="slices of MRI, deep models combined by several kinds of voting",
            records="Mini-Mental State Examination, logical memory; one multilayer "
            "perceptron each",
            cases="386 people",
            rule="majority of the fused MRI model and the two perceptrons",
        )
        | _from_memory(
            slices="three, with one convolutional network each",
            voting="maximum, mean and majority, then the majority of these",
        ),
    ),
    Study(
        "reda2018",
        "Reda 2018, Technology in Cancer Research & Treatment",
        ("late",),
        "confident",
        ("late.md#reda2018",),
        ("PMC5972199",),
        _read(
            "abstract",
            "PMC5972199; aimedicalcompendium.com 23183",
            task="cancer of the prostate",
            imaging="diffusion-weighted MRI; distributions of apparent diffusion "
            "coefficients in stacked sparse auto-encoders, which give probabilities",
            records="prostate-specific antigen, turned into probabilities by nearest "
            "neighbours",
            cases="18 data sets",
            fusion="the probabilities are integrated",
        )
        | _from_memory(
            rule="a meta-classifier on the probabilities, itself an auto-encoder"
        ),
    ),
)


def studies_frame() -> pd.DataFrame:
    """Return the facts about the reviewed studies as a table, one row per fact.

    Returns
    -------
    DataFrame
        With the columns ``study``, ``title``, ``strategies``, ``membership``,
        ``field``, ``value``, ``verified``, ``read`` and ``source``. `verified` is True
        for facts that were read in the study itself, `read` says in which part
        (``"abstract"`` or ``"paper"``). Facts that were read elsewhere
        (``"secondary"``) or are from memory (None) are not verified. `membership` and
        `strategies` are from memory and not verified against the table of studies in
        the review [1]_.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> from skfusion.datasets import studies_frame
    >>> table = studies_frame()
    >>> table["study"].nunique()
    17
    >>> table.query("study == 'liu2018' and field == 'cases'")["value"].item()
    '594 aneurysms, 54 unruptured and 540 ruptured'
    >>> table.query("study == 'tiulpin2019' and field == 'model'")["read"].item()
    'secondary'
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
            "read": fact.read,
            "source": fact.source,
        }
        for study in REVIEWED_STUDIES
        for name, fact in study.facts.items()
    ]
    return pd.DataFrame(rows)
