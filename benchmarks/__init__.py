"""Measurements of whole processes; figures and the commands that made them stand in RESULTS.md."""
