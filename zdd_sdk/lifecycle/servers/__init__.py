"""One small adapter per application server, imported by whoever runs that server."""
