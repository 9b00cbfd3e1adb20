"""Optimisers that leave saddle points, for an ordinary training loop."""
