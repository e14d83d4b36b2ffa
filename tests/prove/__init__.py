"""Proofs on real processes and servers: kill schedules, a crash at every await, a cluster, a power cut."""
