"""llama-server's own endpoints: what their bodies mean, and how their answers look. Not for: HTTP (``routes``)."""
