"""The same Pulumi program and the same workers on one machine, without a cloud account."""
