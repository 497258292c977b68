"""Clinical codes: groups of codes and comorbidity indices."""
