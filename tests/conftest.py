"""No test reaches the network, holds a real key, or touches the user's own data.

The guard sits at the socket and stands before any test module is imported. What it raises is no
`OSError`, so that no library takes it for an ordinary failed connection and carries on.
"""

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
