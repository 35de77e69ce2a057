"""Tests talk to clouds on this machine only: what a shell says of AWS is put aside."""

import os

from local.isolation import is_aws_setting

for name in tuple(os.environ):
    if is_aws_setting(name):
        del os.environ[name]
