"""Counterfactual replay: would another policy or model have been better on the decisions the ledger holds?"""
