"""From problems to verified data: teacher calls, their store, and what is made of the answers."""
