"""The ledger: entries, who may write what when, the fold, reading it at any sequence."""
