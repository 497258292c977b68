"""SHAP values of the features of one modality: `explain_features`."""
