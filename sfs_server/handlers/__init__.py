"""The handlers: each parses a request, calls what knows the answer, and answers."""
