"""What the launcher's own policy would do under a given load: a discrete-event simulator.

Run by `taskpacks simulate` and by `benchmarks.scaling`.
"""
