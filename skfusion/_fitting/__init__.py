"""State of estimators during `fit`, and columns that are used as they are."""
