"""Declarations of the exercises, one file a lesson. They hold the references: the grader's sandbox does not have this folder."""
