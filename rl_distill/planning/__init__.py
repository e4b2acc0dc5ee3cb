"""What a run will cost, from a recipe and the numbers of a machine, before anything is rented or started."""
