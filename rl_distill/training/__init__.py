"""From a recipe to a trained student: sources, stages, the loop, and the run folder that survives interruptions."""
