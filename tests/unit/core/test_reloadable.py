"""A mapping that is replaced while it is in use."""

from __future__ import annotations

import pickle

from ladingd.core.reloadable import Reloadable


def test_who_holds_it_sees_the_new_content_and_a_copy_the_old() -> None:
    live = Reloadable({"a": 1, "b": 2})
    copy = pickle.loads(pickle.dumps(live))
    live.replace({"b": 3})
    assert (dict(live), live.get("a"), len(live)) == ({"b": 3}, None, 1)
    assert dict(copy) == {"a": 1, "b": 2}
