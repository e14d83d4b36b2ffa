"""The decisions: a pure core, and the shell that moves messages."""
