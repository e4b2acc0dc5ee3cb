"""Causal language models: loading or building them, and their log-probs in bounded memory."""
