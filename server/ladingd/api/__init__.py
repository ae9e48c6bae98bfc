"""The API: translates calls into the words of the domain, and the domain's answers back. Only this package knows
gRPC."""
