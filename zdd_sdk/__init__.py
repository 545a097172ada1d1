"""zdd-sdk: makes a service safe to deploy without downtime, from inside the service."""
