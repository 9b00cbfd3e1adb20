"""Second derivatives of a loss as matrices known by their products, and what is asked of them."""
