"""JSON that AWS reads (policies, the state machine, the dashboard): pure functions of values."""
