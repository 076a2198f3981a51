"""`python -m memora`: the command line."""

from memora.cli.main import main

if __name__ == "__main__":
    main()
