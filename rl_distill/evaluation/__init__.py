"""How good a student is, with an interval."""
