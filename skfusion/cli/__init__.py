"""Command-line interface ``skfusion``."""
