"""Networks: names, weights, preprocessing, freezing and batched inference."""
