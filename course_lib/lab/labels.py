"""Telling parts of a model which task each image of a batch belongs to: `course_lib.models.told`, under the name that the lab gave it."""

from course_lib.models.told import TaskAware, told

__all__ = ["TaskAware", "told"]
