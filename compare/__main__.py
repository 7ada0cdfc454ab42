"""`python -m compare`: the command line."""

from backends.threads import set_wait_policy
from compare.cli.commands import app

if __name__ == "__main__":
    set_wait_policy()
    app(prog_name="python -m compare")
