"""The bridge between NATS and the browser, and the pages."""
