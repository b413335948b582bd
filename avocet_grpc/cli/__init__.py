"""The command line `avocet-grpc`: flags in, exit codes out."""
