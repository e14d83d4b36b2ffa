"""What tests share: real processes, waiting with a deadline, builders."""
