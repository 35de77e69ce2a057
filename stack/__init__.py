"""Turns a stack's settings into pulumi components. The only place that imports pulumi."""
