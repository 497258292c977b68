"""Stays of patients (hospital, ICU, emergency and others) in the data formats."""
