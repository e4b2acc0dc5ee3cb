"""What turns samples into new weights."""
