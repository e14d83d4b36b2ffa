"""Submit, wait, stream, cancel and read history."""
