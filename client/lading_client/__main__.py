"""`python -m lading_client` is `lading`."""

from lading_client.cli.app import main

main()
