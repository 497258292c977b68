"""Does fusion help? Statistics, `compare_fusion` and its report.

Read next: `skfusion.evaluation.comparison`.
"""
