"""The EHR side: tables in, numeric features out. Read next: `skfusion.ehr.tabular`."""
