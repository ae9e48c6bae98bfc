"""The daemon with failpoints in it and in its workers: ``python -m tests.chaos.daemon --config FILE``."""

from __future__ import annotations

from tests.chaos.failpoint import Failpoint, Moment, Side, install, replace

STORE = "ladingd.store.jobs:SqlJobStore"
FAILPOINTS = (
    Failpoint(moment=Moment.NOTED, side=Side.BEFORE, place=f"{STORE}.commit_chunks"),
    Failpoint(moment=Moment.ORPHANED, side=Side.AFTER, place=f"{STORE}.move_all"),
    Failpoint(moment=Moment.RECOVERED, side=Side.AFTER, place="ladingd.daemon:recover"),
    Failpoint(moment=Moment.SETTLED, side=Side.BEFORE, place=f"{STORE}.settle"),
    Failpoint(moment=Moment.STORE_COMMIT, side=Side.AFTER, place="ladingd.store.chunks:commit"),
)


def main() -> None:
    """Run ``ladingd``."""
    from ladingd.__main__ import main as serve

    install(FAILPOINTS)
    replace("ladingd.composition:PRELOAD", lambda preload: (*preload, "tests.chaos.worker"))
    serve()


if __name__ == "__main__":
    main()
