"""`python -m compare`: the command line."""

from compare.cli.commands import app

if __name__ == "__main__":
    app(prog_name="python -m compare")
