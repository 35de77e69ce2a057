"""The launcher decides how many workers to start. Standard library and boto3 only.

`policy` is the decision, pure; `records` what it is made from. What is observed and how it is
asked stand beside them. `doorman` is the other Lambda function: it looks where messages wait.
"""
