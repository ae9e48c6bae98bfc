"""Code that tests share: a real daemon process, and waiting with a deadline."""
