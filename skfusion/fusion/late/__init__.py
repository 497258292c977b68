"""Late fusion: one model per modality, and a rule that combines their predictions."""
