"""Diffusion processes, one file each, apart from the networks that they drive, in the symbols of their papers."""
