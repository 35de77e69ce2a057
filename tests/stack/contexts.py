"""A stack's context for tests of pure functions."""

from stack.model import StackContext

CONTEXT = StackContext(
    project="taskpacks",
    stack="test",
    region="us-east-1",
    partition="aws",
    account_id="111122223333",
    kms_key=None,
)
