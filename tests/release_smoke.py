"""What a wheel must do in an environment with nothing but its requirements.

It is run by `make release-check`, outside of the repository.
"""

from __future__ import annotations

import sys

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

import skfusion
from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion.cli.main import main
from skfusion.datasets import make_fusion_cohort


def check() -> None:
    """Fit two fusions, and read the files that a wheel must contain."""
    assert "site-packages" in skfusion.__file__, skfusion.__file__
    cohort = make_fusion_cohort(200, random_state=0)
    modalities = [
        ("image", StandardScaler(), cohort.image_columns),
        ("ehr", StandardScaler(), cohort.ehr_columns),
    ]
    learner = LogisticRegression(C=0.1)
    for fusion in (EarlyFusionClassifier, LateFusionClassifier):
        model = fusion(modalities, estimator=learner, groups="patient_id")
        scores = cross_val_score(model, cohort.data, cohort.target, cv=3)
        assert scores.mean() > 0.6, scores
    assert main([]) == 0
    print(f"skfusion {skfusion.__version__}, Python {sys.version.split()[0]}: works")


if __name__ == "__main__":
    check()
