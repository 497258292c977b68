"""The command line ``skfusion``."""
