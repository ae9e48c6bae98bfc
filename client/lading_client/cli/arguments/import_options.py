"""The options that `lading import` and `lading preview` share, declared once."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any

from lading_client.cli.arguments.formats import (
    BadOption,
    csv_format,
    excel_format,
    fixed_width_format,
    xml_format,
)
from lading_client.cli.arguments.mapping import (
    DefaultOption,
    FilterOption,
    FirstLineOption,
    IgnoreExtraOption,
    IgnoreOption,
    LastLineOption,
    LimitOption,
    LookupOption,
    MapOption,
    MappingOptions,
    SetOption,
    SkipRecordsOption,
    TransformOption,
    VariableOption,
)
from lading_client.cli.arguments.options import (
    AddColumnsOption,
    AfterOption,
    BeforeOption,
    CommentOption,
    CreateOption,
    DelimiterOption,
    DoublesOption,
    DuplicatesOption,
    EncodingOption,
    EscapeOption,
    FlattenOption,
    FormatOption,
    HeaderLinesOption,
    HeaderOption,
    KeepOption,
    KeyOption,
    MaxRejectsOption,
    MemberOption,
    NamesOption,
    NullOption,
    OnInsertOnlyOption,
    OnlyIfEmptyOption,
    OperationOption,
    ProvenanceOption,
    QuoteOption,
    RaggedOption,
    RangeOption,
    RecordElementOption,
    ReplaceOption,
    SecondKeyOption,
    SheetOption,
    SkipOption,
    TypesOption,
    WhereOption,
    WidthsOption,
    format_name,
    listed,
)
from lading_client.cli.arguments.reject_limit import reject_limit
from lading_client.spec import (
    ColumnNames,
    CreateTable,
    Doubles,
    Duplicates,
    File,
    ImportSpec,
    Operation,
    Reconciliation,
    Table,
)

# typer reads the annotations of the options at run time, so nothing here is only for type checkers.


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """The values of the options, in the order of the help."""

    maps: MapOption = None
    ignore: IgnoreOption = None
    ignore_extra: IgnoreExtraOption = False
    sets: SetOption = None
    types: TypesOption = None
    transforms: TransformOption = None
    defaults: DefaultOption = None
    lookups: LookupOption = None
    null_words: NullOption = None
    filter_: FilterOption = ""
    skip: SkipRecordsOption = 0
    limit: LimitOption = 0
    first_line: FirstLineOption = 0
    last_line: LastLineOption = 0
    variables: VariableOption = None
    file_format: FormatOption = ""
    delimiter: DelimiterOption = ""
    quote: QuoteOption = ""
    header: HeaderOption = None
    header_lines: HeaderLinesOption = None
    escape: EscapeOption = ""
    skip_lines: SkipOption = None
    comment: CommentOption = ""
    ragged: RaggedOption = None
    encoding: EncodingOption = ""
    member: MemberOption = ""
    widths: WidthsOption = ""
    sheet: SheetOption = ""
    cells: RangeOption = ""
    record_element: RecordElementOption = ""
    flatten: FlattenOption = False
    create: CreateOption = None
    names: NamesOption = None
    add_columns: AddColumnsOption = False
    provenance: ProvenanceOption = False
    before: BeforeOption = None
    after: AfterOption = None
    operation: OperationOption = None
    key: KeyOption = ""
    second_key: SecondKeyOption = ""
    doubles: DoublesOption = None
    duplicates: DuplicatesOption = None
    keep_if_empty: KeepOption = ""
    only_if_empty: OnlyIfEmptyOption = ""
    on_insert_only: OnInsertOnlyOption = ""
    replaces: ReplaceOption = False
    where: WhereOption = ""
    max_rejects: MaxRejectsOption = ""

    def spec(self, files: Sequence[File], target: Table, chunk_bytes: int = 0) -> ImportSpec:
        """The import that the options mean. Raises BadOption, BadMapping."""
        csv = csv_format(
            self.delimiter,
            self.quote,
            self.header,
            self.header_lines,
            self.escape,
            self.skip_lines,
            self.comment,
            self.ragged,
        )
        cells = self.sheet or self.cells
        spec = ImportSpec(
            files=tuple(files),
            file_format=format_name(self.file_format),
            csv=csv,
            fixed_width=fixed_width_format(self.widths, csv, cells or self.record_element),
            excel=excel_format(self.sheet, self.cells, csv),
            xml=xml_format(self.record_element, cells, csv),
            target=target,
            types=_types(self.types or ()),
            encoding=self.encoding,
            member=self.member,
            flatten=self.flatten,
            create=CreateTable[self.create.name] if self.create else CreateTable.UNSPECIFIED,
            names=ColumnNames[self.names.name] if self.names else ColumnNames.UNSPECIFIED,
            add_columns=self.add_columns,
            provenance=self.provenance,
            before=tuple(self.before or ()),
            after=tuple(self.after or ()),
            reconciliation=self._reconciliation,
            replace=self.replaces,
            where=self.where,
            reject_limit=reject_limit(self.max_rejects),
            chunk_bytes=chunk_bytes,
        )
        return self._mapping.applied(spec)

    @property
    def _reconciliation(self) -> Reconciliation:
        return Reconciliation(
            operation=Operation[self.operation.name] if self.operation else Operation.UNSPECIFIED,
            key=listed(self.key),
            second_key=listed(self.second_key),
            doubles=Doubles[self.doubles.name] if self.doubles else Doubles.UNSPECIFIED,
            duplicates=Duplicates[self.duplicates.name] if self.duplicates else Duplicates.UNSPECIFIED,
            keep_if_source_empty=listed(self.keep_if_empty),
            only_if_target_empty=listed(self.only_if_empty),
            on_insert_only=listed(self.on_insert_only),
        )

    @property
    def _mapping(self) -> MappingOptions:
        return MappingOptions(
            maps=self.maps or (),
            sets=self.sets or (),
            transforms=self.transforms or (),
            defaults=self.defaults or (),
            lookups=self.lookups or (),
            nulls=self.null_words or (),
            ignored=self.ignore or (),
            ignore_extra=self.ignore_extra,
            filter=self.filter_,
            skip=self.skip,
            limit=self.limit,
            first_line=self.first_line,
            last_line=self.last_line,
            variables=self.variables or (),
        )


def takes_import_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with these options among its own. It gets their values as ``options``."""

    @wraps(command)
    def wrapped(**values: Any) -> None:
        options = ImportOptions(**{each.name: values.pop(each.name) for each in fields(ImportOptions)})
        command(options=options, **values)

    own = [each for each in inspect.signature(command).parameters.values() if each.name != "options"]
    shared = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
        for each in fields(ImportOptions)
    ]
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    leading = [each for each in own if each.default is inspect.Parameter.empty or each.name == "into"]
    parameters = [*leading, *shared, *(each for each in own if each not in leading)]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


def _types(given: Sequence[str]) -> dict[str, str]:
    types: dict[str, str] = {}
    for text in given:
        column, equals, kind = text.rpartition("=")
        if not equals or not column or not kind:
            raise BadOption(f"--type {text}: write COLUMN=TYPE, as in --type born=date")
        types[column] = kind
    return types
