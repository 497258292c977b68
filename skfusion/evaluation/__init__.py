"""Statistics, the comparison of fusion strategies and its report."""
