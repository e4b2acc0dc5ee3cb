"""`rl-distill doctor`: what this machine can do, and what a recipe needs that is not there."""
