"""Ways to spoil an image, one file per kind. Batches are (B, 3, H, W) in [0, 1]; draws come from a seed per image."""
