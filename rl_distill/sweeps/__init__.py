"""Many runs of one recipe: cells, what they share, one table."""
