"""The loss landscape: where the stationary points are, what they are, and the way out of them."""
