"""Look inside a pass or a running script; the only place that hooks or wraps torch."""
