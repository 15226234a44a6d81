"""What the commands of `vidpred` do, a file each, so that the command line itself imports nothing heavy."""
