"""Simulates what the launcher's own policy would do under a given load, event by event.

Run by `taskpacks simulate` and by `benchmarks.scaling`.
"""
