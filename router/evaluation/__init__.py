"""Evaluation on a virtual clock: the product's own prediction and decision beside the policies of others."""
