"""Guidelines: properties of the strategies, advice on a cohort and its audit."""
