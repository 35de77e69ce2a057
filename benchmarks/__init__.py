"""Figures of speed and memory, printed, never asserted in tests: the machine is not ours alone."""
