"""No job reads or writes the daemon's own files under any name."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import DestinationRefused, InvalidRequest, InvalidSpec, SourceUnreadable
from ladingd.core.files import UPLOADS
from ladingd.core.reloadable import Reloadable
from ladingd.core.spec import ExportSpec, File, ImportSpec, Table
from ladingd.data.exports.destination import Destination
from ladingd.data.files.downloads import RootFiles
from ladingd.data.files.own_files import Guard

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.data.conftest import Yard

WHAT = "the database of connection 'crm'"
STATE = "the daemon's state directory"
ID = str(uuid.UUID(int=1, version=4))


@pytest.fixture
def guarded(tmp_path: Path, make_yard: Callable[[Path], Yard]) -> Yard:
    """A yard with the root `srv`, which contains the database `crm.db` of a connection, and a state directory."""
    (tmp_path / "yard").mkdir()
    yard = make_yard(tmp_path / "yard")
    srv, state = tmp_path / "srv", tmp_path / "state"
    for directory in (srv / "sub", state / "jobs" / "one", state / UPLOADS / ID):
        directory.mkdir(parents=True)
    for path in ("srv/crm.db", "srv/secret", "state/store.db", "state/jobs/one/a.csv", f"state/{UPLOADS}/{ID}/a.csv"):
        (tmp_path / path).write_text(f"a\n{path}\n")
    own = {
        WHAT: srv / "crm.db",
        "the write-ahead log of connection 'crm'": srv / "crm.db-wal",
        "the password of connection 'pg'": srv / "secret",
        STATE: state,
    }
    roots = {"srv": srv, "machine": Path("/"), UPLOADS: state / UPLOADS, **yard.transfer.roots}
    yard.sql("CREATE TABLE t (a)")
    yard.sql("INSERT INTO t VALUES (1)")
    return replace(yard, transfer=replace(yard.transfer, roots=roots, own_files=Reloadable(own)))


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and "yard" not in path.parts
    }


async def refusals(yard: Yard, file: File) -> list[str]:
    """The errors of an import, a download, and an export that would replace the file."""
    transfer = yard.transfer
    said = []
    with pytest.raises(InvalidSpec) as imported:
        transfer.plan(ImportSpec(files=(file,), target=Table(table="t")))
    said.append(imported.value.problem)
    with pytest.raises(InvalidRequest) as downloaded:
        async with RootFiles(transfer.roots, transfer.own_files).send(file, 0):
            pass
    said.append(downloaded.value.problem)
    with pytest.raises(InvalidSpec) as exported:
        transfer.plan(ExportSpec(source=Table(table="t"), file=file, overwrite=True))
    said.append(exported.value.problem)
    plan = replace(yard.plan_export(path="other.csv"), file=file, overwrite=True)
    with pytest.raises(DestinationRefused):
        transfer.begin("job", 1, plan)
    return said


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("srv/crm.db", f"is {WHAT}"),
        ("srv/secret", "is the password of connection 'pg'"),
        ("state/store.db", f"is in {STATE}"),
        ("state/jobs/one/a.csv", f"is in {STATE}"),
        (f"state/{UPLOADS}/{ID}/a.csv", f"is in {STATE}"),
    ],
)
@pytest.mark.parametrize("way", ["", "/proc/self/root", "/proc/thread-self/root/proc/self/root"])
async def test_by_its_path(guarded: Yard, tmp_path: Path, path: str, what: str, way: str) -> None:
    before = contents(tmp_path)
    said = await refusals(guarded, File(root="machine", path=f"{way}{tmp_path}/{path}".lstrip("/")))
    assert all(what in each for each in said)
    assert contents(tmp_path) == before


def by_link(tmp_path: Path) -> str:
    (tmp_path / "srv/link.csv").symlink_to("crm.db")
    return "link.csv"


def by_hard_link(tmp_path: Path) -> str:
    os.link(tmp_path / "srv/crm.db", tmp_path / "srv/hard.csv")
    return "hard.csv"


def by_hard_link_into_the_state(tmp_path: Path) -> str:
    os.link(tmp_path / "state/jobs/one/a.csv", tmp_path / "srv/deep.csv")
    return "deep.csv"


def by_link_to_its_directory(tmp_path: Path) -> str:
    (tmp_path / "srv/around").symlink_to(".")
    return "around/crm.db"


def by_name(tmp_path: Path) -> str:
    return "crm.db"


@pytest.mark.parametrize("way", [by_name, by_link, by_hard_link, by_hard_link_into_the_state, by_link_to_its_directory])
async def test_who_may_use_one_root_learns_only_that_a_file_is_the_daemons(
    guarded: Yard, tmp_path: Path, way: Callable[[Path], str]
) -> None:
    path = way(tmp_path)
    before = contents(tmp_path)
    said = await refusals(guarded, File(root="srv", path=path))
    for problem in said[:2]:
        assert "belongs to the daemon, which no job opens: name another file" in problem
    assert "belongs to the daemon; a job cannot write to it: choose another file" in said[2] or path == "link.csv"
    assert not [each for each in said if "crm'" in each or "state" in each]
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crm.db-wal", "is the write-ahead log of connection 'crm'"),
        ("CRM.DB-WAL", "differs only by case or Unicode form from the write-ahead log of connection 'crm'"),
    ],
)
def test_the_name_of_a_file_that_will_come_is_kept(guarded: Yard, tmp_path: Path, name: str, said: str) -> None:
    file = File(root="machine", path=f"{tmp_path}/srv/{name}"[1:])
    for overwrite in (False, True):
        with pytest.raises(InvalidSpec, match=said):
            guarded.transfer.plan(ExportSpec(source=Table(table="t"), file=file, overwrite=overwrite))


def test_names_in_another_unicode_form(guarded: Yard, tmp_path: Path) -> None:
    own = {"the database of connection 'x'": tmp_path / "srv/Caf\N{LATIN SMALL LETTER E WITH ACUTE}.db"}
    file = File(root="machine", path=f"{tmp_path}/srv/Cafe\N{COMBINING ACUTE ACCENT}.db"[1:])
    with pytest.raises(InvalidSpec, match="differs only by case or Unicode form"):
        replace(guarded.transfer, own_files=own).plan(ExportSpec(source=Table(table="t"), file=file))


def test_files_that_exist_apart_are_no_others_for_their_case(guarded: Yard, tmp_path: Path) -> None:
    (tmp_path / "srv/CRM.db").write_text("a\n1\n")
    if (tmp_path / "srv/CRM.db").samefile(tmp_path / "srv/crm.db"):
        pytest.skip("this file system does not tell them apart")
    guarded.transfer.plan(ImportSpec(files=(File(root="srv", path="CRM.db"),), target=Table(table="t")))


def test_beside_a_database_everything_else_is_free(guarded: Yard, tmp_path: Path) -> None:
    for file in (File(root="srv", path="crm.csv"), File(root="srv", path="sub/crm.db"), File(path="t.csv")):
        plan = guarded.transfer.plan(ExportSpec(source=Table(table="t"), file=file))
        guarded.run(plan, job_id=uuid.uuid4().hex)
    assert (tmp_path / "srv/sub/crm.db").read_text() == "a\n1\n"


def test_no_export_over_its_own_source(guarded: Yard) -> None:
    own = {"the database of connection 'local'": guarded.database}
    transfer, before = replace(guarded.transfer, own_files=own), guarded.database.read_bytes()
    with pytest.raises(InvalidSpec, match="belongs to the daemon"):
        transfer.plan(ExportSpec(source=Table(table="t"), file=File(path=guarded.database.name), overwrite=True))
    assert guarded.database.read_bytes() == before


# Uploads


async def test_uploads_are_open_by_their_own_root_and_by_no_other(guarded: Yard, tmp_path: Path) -> None:
    upload = File(root=UPLOADS, path=f"{ID}/a.csv")
    guarded.transfer.plan(ImportSpec(files=(upload,), target=Table(table="t")))
    async with RootFiles(guarded.transfer.roots, guarded.transfer.own_files).send(upload, 0):
        pass
    os.link(tmp_path / "state" / UPLOADS / ID / "a.csv", tmp_path / "srv/copy.csv")
    guarded.transfer.plan(ImportSpec(files=(upload,), target=Table(table="t")))
    assert "belongs to the daemon" in (await refusals(guarded, File(root="srv", path="copy.csv")))[0]
    plan = guarded.transfer.plan(ExportSpec(source=Table(table="t"), file=File(root=UPLOADS, path=f"{ID}/store.db")))
    guarded.run(plan)
    assert (tmp_path / "state" / UPLOADS / ID / "store.db").read_text() == "a\n1\n"


def test_an_upload_that_is_a_link_out_of_the_uploads_is_none(guarded: Yard, tmp_path: Path) -> None:
    os.link(tmp_path / "state/store.db", tmp_path / "state" / UPLOADS / ID / "b.csv")
    (tmp_path / "state" / UPLOADS / ID / "c.csv").symlink_to(tmp_path / "state/store.db")
    for name in ("b.csv", "c.csv"):
        with pytest.raises(InvalidSpec, match=r"belongs to the daemon|leads out of its root"):
            guarded.transfer.plan(ImportSpec(files=(File(root=UPLOADS, path=f"{ID}/{name}"),), target=Table(table="t")))


# Meanwhile


def test_a_connection_that_a_reload_adds_is_protected_from_jobs_that_run(guarded: Yard, tmp_path: Path) -> None:
    out, own = tmp_path / "srv/out.csv", guarded.transfer.own_files
    out.write_text("a\n1\n")
    plan = guarded.transfer.plan(
        ExportSpec(source=Table(table="t"), file=File(root="srv", path="out.csv"), overwrite=True)
    )
    fetched = guarded.transfer.plan(ImportSpec(files=(File(root="srv", path="out.csv"),), target=Table(table="t")))
    guarded.transfer.begin("job", 1, plan)
    chunks = guarded.chunks(plan)
    for chunk in chunks:
        guarded.transfer.process("job", 1, plan, chunk)
    assert isinstance(own, Reloadable)
    own.replace({**own, "the database of connection 'new'": out})
    for again in (
        lambda: guarded.transfer.process("job", 1, plan, replace(chunks[0], ordinal=7)),
        lambda: guarded.transfer.finish("job", plan, chunks),
    ):
        with pytest.raises(DestinationRefused, match="belongs to the daemon"):
            again()
    with pytest.raises(SourceUnreadable, match="belongs to the daemon"):
        guarded.transfer.begin("other", 1, fetched)
    guarded.transfer.discard("job", plan)
    assert sorted(path.name for path in out.parent.iterdir()) == ["crm.db", "out.csv", "secret", "sub"]
    assert out.read_text() == "a\n1\n"


@pytest.mark.parametrize("what", ["draft", "file"])
def test_what_is_put_in_the_way_of_a_job_that_runs(guarded: Yard, tmp_path: Path, what: str) -> None:
    srv = tmp_path / "srv"
    spec = ExportSpec(source=Table(table="t"), file=File(root="srv", path="out.csv"), overwrite=True)
    plan = guarded.transfer.plan(spec)
    guarded.transfer.begin("job", 1, plan)
    (chunk,) = guarded.chunks(plan)
    for path in ("srv/crm.db", "state/store.db", "yard/theirs"):
        (tmp_path / "yard/theirs").write_text("theirs")
        before = (tmp_path / path).read_bytes()
        if what == "draft":
            (srv / ".out.csv.job").unlink()
            os.link(tmp_path / path, srv / ".out.csv.job")
        elif path != "yard/theirs":
            os.link(tmp_path / path, srv / "out.csv")
        else:
            continue
        with pytest.raises(DestinationRefused, match=r"belongs to the daemon|is a file of another name too"):
            guarded.transfer.process("job", 1, plan, chunk)
        with pytest.raises(DestinationRefused):
            guarded.transfer.finish("job", plan, [chunk])
        assert (tmp_path / path).read_bytes() == before
        (srv / "out.csv").unlink(missing_ok=True)


def test_a_directory_that_becomes_a_link_into_the_state(guarded: Yard, tmp_path: Path) -> None:
    file = File(root="machine", path=f"{tmp_path}/srv/sub/store.db"[1:])
    plan = guarded.transfer.plan(ExportSpec(source=Table(table="t"), file=file, overwrite=True))
    (tmp_path / "srv/sub").rename(tmp_path / "srv/kept")
    (tmp_path / "srv/sub").symlink_to(tmp_path / "state")
    before = contents(tmp_path)
    with pytest.raises(DestinationRefused, match=f"store.db is in {STATE}; a job cannot write to it"):
        guarded.transfer.begin("job", 1, plan)
    assert contents(tmp_path) == before


async def test_what_is_refused_is_never_opened(guarded: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a database that this process has open would drop its locks."""
    real = os.open

    def noting(path: object, flags: int, *arguments: object, **named: object) -> int:
        assert flags & (os.O_PATH | os.O_DIRECTORY) or "crm.db" not in os.path.realpath(str(path)), "it is opened"
        return real(path, flags, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", noting)
    await refusals(guarded, File(root="srv", path="crm.db"))


# Regular files only


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def device(path: Path) -> None:
    try:
        os.mknod(path, 0o20600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def directory(path: Path) -> None:
    path.mkdir()


def link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def link_to_a_file(path: Path) -> None:
    path.with_name("file").write_text("theirs")
    path.symlink_to("file")


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


IN_THE_WAY = {
    fifo: "is a named pipe, and",
    listener: "is a socket, and",
    device: "is a device, and",
    directory: "is a directory: name a file in it",
    link_to_a_pipe: "is a symbolic link, and",
    link_to_a_file: "is a symbolic link, and",
    link_to_nothing: "is a symbolic link, and",
}


@pytest.mark.parametrize("put", IN_THE_WAY, ids=lambda put: put.__name__)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_replaces_regular_files_only(yard: Yard, put: Callable[[Path], None], overwrite: bool) -> None:
    yard.sql("CREATE TABLE t (a)")
    out = yard.directory / "out.csv"
    put(out)
    before = out.lstat()
    with pytest.raises(InvalidSpec, match=rf"out\.csv {IN_THE_WAY[put]}"):
        yard.plan_export(overwrite=overwrite)
    assert out.lstat().st_ino == before.st_ino


@pytest.mark.parametrize("put", IN_THE_WAY, ids=lambda put: put.__name__)
@pytest.mark.parametrize("moment", ["begin", "process", "finish", "publish"])
def test_what_is_put_there_meanwhile_is_not_replaced(
    yard: Yard, put: Callable[[Path], None], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.sql("CREATE TABLE t (a)")
    out = yard.directory / "out.csv"
    out.write_text("theirs")
    plan = yard.plan_export(overwrite=True)
    out.unlink()

    def swap() -> None:
        put(out)

    complete = Destination.complete

    def late(self: Destination, *arguments: object) -> str:
        identity = complete(self, *arguments)  # type: ignore[arg-type]
        swap()
        return identity

    if moment == "begin":
        swap()

    def run() -> None:
        yard.transfer.begin("job", 1, plan)
        if moment == "process":
            swap()
        chunks = yard.chunks(plan)
        for chunk in chunks:
            yard.transfer.process("job", 1, plan, chunk)
        if moment == "finish":
            swap()
        if moment == "publish":
            monkeypatch.setattr(Destination, "complete", late)
        yard.transfer.finish("job", plan, chunks)

    with pytest.raises(DestinationRefused, match=rf"out\.csv {IN_THE_WAY[put]}"):
        run()
    assert not out.is_file() or out.is_symlink()
    if moment != "publish":
        return
    # Start continues after the refusal.
    monkeypatch.undo()
    if out.is_dir() and not out.is_symlink():
        out.rmdir()
    else:
        out.unlink()
    yard.transfer.begin("job", 2, plan)
    yard.transfer.finish("job", plan, yard.chunks(plan))
    assert out.read_text() == "a\n"


def test_devices_of_this_machine(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a)")
    transfer = replace(yard.transfer, roots={"machine": Path("/")})
    for path in ("dev/null", "dev/stdout", "dev/stderr", "dev"):
        with pytest.raises(InvalidSpec, match="is a"):
            transfer.plan(ExportSpec(source=Table(table="t"), file=File(root="machine", path=path), overwrite=True))


@pytest.mark.parametrize("path", ["out/", "sub/", "sub/.", "out.csv/"])
def test_paths_of_directories(yard: Yard, path: str) -> None:
    yard.sql("CREATE TABLE t (a)")
    (yard.directory / "sub").mkdir()
    with pytest.raises(InvalidSpec, match="is the path of a directory: name a file in it"):
        yard.plan_export(path=path)


# Mounts

_MOUNTED = """
import os, sys
from pathlib import Path
from ladingd.data.files.own_files import Guard
folder = Path(sys.argv[1])
guard = Guard(own={"the state": folder / "state"}, uploads=None, frank=True)
for path in sys.argv[2:]:
    path = folder / path
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        found = path.lstat()
    except FileNotFoundError:
        found = None
    print(guard.objection(directory, path.name, found) or "free")
"""


def test_parts_of_the_state_that_are_mounted_elsewhere(tmp_path: Path) -> None:
    for name in ("state/jobs/one", "whole", "part of it", "free"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "state/jobs/one/a.csv").write_text("x")
    (tmp_path / "file").write_text("")
    binds = {"state": "whole", "state/jobs/one": "part of it", "state/jobs/one/a.csv": "file"}
    mounting = "".join(f"mount --bind '{tmp_path}/{one}' '{tmp_path}/{other}' && " for one, other in binds.items())
    try:
        done = subprocess.run(
            [
                *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{mounting} exec "$@"', "sh"),
                *(sys.executable, "-c", _MOUNTED, str(tmp_path)),
                *("whole/store.db", "part of it/a.csv", "part of it/new", "file", "free/new"),
            ],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode:
        pytest.skip(f"mounts cannot be made here: {done.stderr}")
    assert done.stdout.splitlines() == [
        *("is in the state", "is a file in the state", "is in the state", "is a file in the state", "free")
    ]


def test_a_guard_of_nothing_has_no_objection(tmp_path: Path) -> None:
    guard = Guard(own={"gone": tmp_path / "no/such/file"}, uploads=None, frank=True)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert guard.objection(directory, "x", None) == ""
    finally:
        os.close(directory)
