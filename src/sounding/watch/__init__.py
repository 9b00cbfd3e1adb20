"""Watch a training from inside its process: what happens step by step, and what is kept of it."""
