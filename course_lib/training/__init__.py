"""One training loop for the lessons and for `course train`: `fit(model, recipe, images, degrade, folder)`."""

from course_lib.training.checkpoint import load_weights, save_weights
from course_lib.training.loop import Result, TrainingError, fit
from course_lib.training.recipe import Recipe, RecipeError, load_recipe

__all__ = ["Recipe", "RecipeError", "Result", "TrainingError", "fit", "load_recipe", "load_weights", "save_weights"]
