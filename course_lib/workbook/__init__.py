"""The classroom: lesson sources, notebooks, runs, checks and reports."""
