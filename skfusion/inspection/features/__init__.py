"""SHAP values of the features inside one modality: `explain_features`."""
