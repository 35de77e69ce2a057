"""The launcher: decides how many workers to start. Standard library and boto3 only.

`policy` is the decision, pure; what it observes and what comes of it stand beside it.
"""
