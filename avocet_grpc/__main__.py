"""`python -m avocet_grpc` is the command `avocet-grpc`."""

from avocet_grpc.cli.app import main

if __name__ == "__main__":
    main()
