"""Turn what was captured into numbers with names, errors and expectations."""
