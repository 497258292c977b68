"""Static EHR columns as numeric features."""
