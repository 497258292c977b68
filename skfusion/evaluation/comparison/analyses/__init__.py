"""Secondary analyses of a comparison: curves, operating points, subgroups, cohort."""
