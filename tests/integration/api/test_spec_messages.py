"""Converts specs to messages and back, and refuses invalid ones."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from lading.v1.spec_pb2 import JobSpec
from ladingd.api.messages.spec import named_in_request, spec_from, spec_message
from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import (
    ColumnMapping,
    ColumnNames,
    CreateTable,
    CsvFormat,
    Enumeration,
    ExportSpec,
    File,
    Header,
    ImportSpec,
    OnRestart,
    Ragged,
    RejectLimit,
    Table,
)

IMPORT = {"files": [{"path": "a.csv"}], "target": {"table": "t"}}
EXPORT = {"table": {"table": "t"}, "file": {"path": "a.csv"}}

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
statements = words.filter(lambda text: bool(text.strip()) and "\0" not in text)
formats = st.builds(
    CsvFormat,
    delimiter=st.sampled_from(["", "\t", ";", "|", "@@@"]),
    quote=st.sampled_from(["", '"', "'"]),
    header=st.sampled_from(Header),
    header_lines=st.integers(0, 20),
    skip_lines=st.one_of(st.none(), st.integers(0, 2**31 - 1)),
    comment=st.sampled_from(["", "#", "none"]),
    escape=st.sampled_from(["", "\\", "none"]),
    ragged=st.sampled_from(Ragged),
)
files = st.builds(File, root=words, path=words)
tables = st.builds(Table, connection=words, schema=st.one_of(st.just(""), words), table=words)
positive = st.integers(1, 2**63 - 1)
numbers = st.integers(0, 2**63 - 1)
optional = st.one_of(st.none(), st.just(""), words)
columns = st.builds(
    ColumnMapping,
    source=words,
    target=words,
    transformations=st.lists(words, max_size=2).map(tuple),
    default_value=optional,
    expression=words,
    lookup=words,
    null_words=st.lists(words, max_size=2).map(tuple),
)
enumerations = st.builds(
    Enumeration,
    values=st.dictionaries(words, words, max_size=2),
    default_value=optional,
    ignore_case=st.booleans(),
)
restarts = st.sampled_from(OnRestart)
imports = st.builds(
    ImportSpec,
    kind=st.just("import"),
    files=st.lists(files, min_size=1, max_size=3).map(tuple),
    file_format=st.sampled_from(["", "csv", "json_lines"]),
    csv=formats,
    target=tables,
    types=st.dictionaries(words, words, max_size=3),
    null_words=st.lists(words, max_size=3).map(tuple),
    encoding=st.one_of(st.just(""), words),
    member=st.one_of(st.just(""), words),
    flatten=st.booleans(),
    columns=st.lists(columns, max_size=2).map(tuple),
    ignored_columns=st.lists(words, max_size=2).map(tuple),
    ignore_extra=st.booleans(),
    filter=st.one_of(st.just(""), words),
    skip=numbers,
    limit=numbers,
    first_line=numbers,
    last_line=numbers,
    variables=st.dictionaries(words, words, max_size=2),
    enumerations=st.dictionaries(words, enumerations, max_size=2),
    create=st.sampled_from(CreateTable),
    names=st.sampled_from(ColumnNames),
    add_columns=st.booleans(),
    provenance=st.booleans(),
    before=st.lists(statements, max_size=2).map(tuple),
    after=st.lists(statements, max_size=2).map(tuple),
    reject_limit=st.builds(
        RejectLimit, records=st.one_of(st.none(), numbers), percent=st.one_of(st.none(), st.floats(0, 100))
    ),
    chunk_bytes=positive,
    on_restart=restarts,
)
exports = st.builds(
    ExportSpec,
    kind=st.just("export"),
    source=tables,
    file=files,
    file_format=st.sampled_from(["", "csv", "json_lines"]),
    csv=formats,
    overwrite=st.booleans(),
    chunk_keys=positive,
    on_restart=restarts,
)


@given(st.one_of(imports, exports))
def test_a_spec_survives_the_way_there_and_back(spec: ImportSpec | ExportSpec):
    message = JobSpec.FromString(spec_message(spec).SerializeToString())
    assert spec_from(message) == spec


def test_what_an_import_leaves_out_is_the_default():
    spec = spec_from(ParseDict({"importSpec": IMPORT}, JobSpec()))
    assert spec == ImportSpec(files=(File(path="a.csv"),), target=Table(table="t"))


def test_what_an_export_leaves_out_is_the_default():
    spec = spec_from(ParseDict({"exportSpec": EXPORT}, JobSpec()))
    assert spec == ExportSpec(source=Table(table="t"), file=File(path="a.csv"))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({}, "job.spec"),
        ({"importSpec": IMPORT, "onRestart": 7}, "job.spec.on_restart"),
        ({"importSpec": {**IMPORT, "files": []}}, "job.spec.import_spec.files"),
        ({"importSpec": {**IMPORT, "files": [*IMPORT["files"], {}]}}, "job.spec.import_spec.files[1].path"),
        ({"importSpec": {"files": IMPORT["files"]}}, "job.spec.import_spec.target.table"),
        ({"importSpec": {**IMPORT, "chunkBytes": -1}}, "job.spec.import_spec.chunk_bytes"),
        ({"importSpec": {**IMPORT, "csv": {"header": 9}}}, "job.spec.import_spec.csv.header"),
        ({"importSpec": {**IMPORT, "csv": {"ragged": 9}}}, "job.spec.import_spec.csv.ragged"),
        ({"importSpec": {**IMPORT, "csv": {"skipLines": -1}}}, "job.spec.import_spec.csv.skip_lines"),
        ({"importSpec": {**IMPORT, "skip": -1}}, "job.spec.import_spec.skip"),
        ({"importSpec": {**IMPORT, "limit": -1}}, "job.spec.import_spec.limit"),
        ({"importSpec": {**IMPORT, "firstLine": -1}}, "job.spec.import_spec.first_line"),
        ({"importSpec": {**IMPORT, "lastLine": -1}}, "job.spec.import_spec.last_line"),
        ({"importSpec": {**IMPORT, "create": 9}}, "job.spec.import_spec.create"),
        ({"importSpec": {**IMPORT, "names": 9}}, "job.spec.import_spec.names"),
        ({"importSpec": {**IMPORT, "before": ["SELECT 1", " "]}}, "job.spec.import_spec.before[1]"),
        ({"importSpec": {**IMPORT, "after": [""]}}, "job.spec.import_spec.after[0]"),
        ({"importSpec": {**IMPORT, "after": ["SELECT '\0'"]}}, "job.spec.import_spec.after[0]"),
        ({"importSpec": {**IMPORT, "rejectLimit": {"records": -1}}}, "job.spec.import_spec.reject_limit.records"),
        ({"importSpec": {**IMPORT, "rejectLimit": {"percent": 101}}}, "job.spec.import_spec.reject_limit.percent"),
        ({"importSpec": {**IMPORT, "rejectLimit": {"percent": "NaN"}}}, "job.spec.import_spec.reject_limit.percent"),
        ({"exportSpec": {"file": EXPORT["file"]}}, "job.spec.export_spec.table.table"),
        ({"exportSpec": {"table": EXPORT["table"]}}, "job.spec.export_spec.file.path"),
        ({"exportSpec": {**EXPORT, "chunkKeys": -1}}, "job.spec.export_spec.chunk_keys"),
    ],
)
def test_a_wrong_shape_is_refused_with_its_field(message: dict[str, Any], field: str):
    with pytest.raises(InvalidSpec) as caught:
        spec_from(ParseDict(message, JobSpec()))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("message", "inner", "outer"),
    [
        ({"importSpec": IMPORT}, "target.connection", "job.spec.import_spec.target.connection"),
        ({"importSpec": IMPORT}, "files[0].path", "job.spec.import_spec.files[0].path"),
        ({"importSpec": IMPORT}, "", "job.spec.import_spec"),
        ({"exportSpec": EXPORT}, "file.path", "job.spec.export_spec.file.path"),
        ({"exportSpec": EXPORT}, "source.table", "job.spec.export_spec.table.table"),
        ({"exportSpec": EXPORT}, "source", "job.spec.export_spec.table"),
        ({}, "label", "label"),
    ],
)
def test_fields_named_below_the_api_get_their_path_in_the_request(message: dict[str, Any], inner: str, outer: str):
    with pytest.raises(InvalidSpec, match="is odd") as caught, named_in_request(ParseDict(message, JobSpec())):
        raise InvalidSpec(inner, "is odd")
    assert caught.value.field == outer
