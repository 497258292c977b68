"""Cohort tables of the command line: files, encodings and cells."""
