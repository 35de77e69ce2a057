"""Before anything is made: the rules, the plan, and the program run without an engine."""
