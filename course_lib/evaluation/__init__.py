"""Restoring whole images and measuring the result by the papers' protocols."""

from course_lib.evaluation.protocol import PROTOCOLS, Score, evaluate, mean_scores, noisy_pairs
from course_lib.evaluation.tiled import restore, restore_tiled

__all__ = ["PROTOCOLS", "Score", "evaluate", "mean_scores", "noisy_pairs", "restore", "restore_tiled"]
