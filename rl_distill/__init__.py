"""Which way makes a small language model reason: zero-RL, distillation, REDI or probes? One student, one loop, one bill."""

__version__ = "0.1.0"
