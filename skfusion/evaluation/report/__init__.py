"""HTML report and figures of a comparison of fusion strategies."""
