"""`python -m compare`: the command line."""

from compare.commands import app

if __name__ == "__main__":
    app(prog_name="python -m compare")
