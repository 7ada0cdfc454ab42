"""What stays is passed over by the garbage collector; what is let go of is found all the same."""

import subprocess
import sys
import textwrap

CODE = """
    import gc, sys, weakref
    from backends.lazy_import import collect_garbage, freeze_count, import_once

    class Node:
        pass

    def ring():
        node = Node()
        node.itself = node
        return weakref.ref(node)

    collect_garbage()
    assert gc.get_freeze_count() == 0, "nothing was passed over before"
    before = ring()
    assert import_once("wave") is sys.modules["wave"]
    frozen = gc.get_freeze_count()
    assert frozen > 1000
    import_once("wave")
    assert gc.get_freeze_count() == frozen, "a package that is there changes nothing"
    gc.collect()
    assert before() is not None, "what is passed over is not looked at"
    collect_garbage(freeze_count() - 1)
    assert before() is None, "what was created before the last freeze is frozen"
    assert gc.get_freeze_count() > 1000

    count, after = freeze_count(), ring()
    collect_garbage(count)
    assert after() is None
    assert freeze_count() == count, "what is not frozen is collected without the frozen objects"
"""


def test_garbage_is_found_where_memory_is_let_go_of() -> None:
    """In a process of its own: the collector is everybody's."""
    code = textwrap.dedent(CODE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
