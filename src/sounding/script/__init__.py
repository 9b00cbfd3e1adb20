"""A user's script: run as Python would, watched from within, tried in processes of its own."""
