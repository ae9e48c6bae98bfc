"""The API: what a call says in the words of the domain, and what the domain answers. Only this room knows gRPC."""
