"""How fast the parts are, each measured beside what it is compared with: see README.md. Nothing here is installed."""
