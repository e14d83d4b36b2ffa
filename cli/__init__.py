"""The outrider command: the only place that may import every other part."""
