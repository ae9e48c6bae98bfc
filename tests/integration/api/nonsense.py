"""Makes nonsense requests: messages with random fields, and bytes that are not a message."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_DEPTH = 5
_WORDS = (
    "",
    "a",
    "é\U0001f69a",
    "\x00",
    "a\nb",
    "../" * 30,
    "%s%n{0}",
    "'; DROP TABLE jobs; --",
    "x" * 5_000,
    "*",
    "jobs/",
    "-1",
    "9" * 40,
)
_NUMBERS = (0, 1, 2, -1, 7, 63, 1000, 1001, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
_TEXTS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_KINDS_OF_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Nonsense:
    """Makes the same requests for the same seed. ``plausible`` are realistic texts by field name."""

    def __init__(self, seed: int, plausible: dict[str, Sequence[str]]) -> None:
        self.chance = random.Random(seed)
        self._plausible = plausible

    def message(self, kind: Descriptor) -> Message:
        """A message with random fields, some of which make sense."""
        made = message_factory.GetMessageClass(kind)()
        self._fill(made, _DEPTH)
        return made

    def damaged(self, kind: Descriptor) -> bytes:
        """The bytes of a random message, truncated, changed or with insertions; or random bytes."""
        whole = bytearray(self.message(kind).SerializeToString())
        chance = self.chance
        match chance.randrange(5):
            case 0:
                return chance.randbytes(chance.choice((1, 2, 10, 200, 10_000)))
            case 1:
                return bytes(whole[: chance.randrange(len(whole) + 1)])
            case 2:
                for _ in range(min(len(whole), chance.randint(1, 8))):
                    whole[chance.randrange(len(whole))] = chance.randrange(256)
                return bytes(whole)
            case 3:
                place = chance.randrange(len(whole) + 1)
                return bytes(whole[:place]) + chance.randbytes(chance.randint(1, 20)) + bytes(whole[place:])
            case _:
                # Deeply nested messages, which no parser may follow to the end.
                field = chance.choice(b"\x0a\x12\x1a\x22")
                nested = b""
                for _ in range(chance.choice((3, 120, 300))):
                    nested = bytes([field]) + _varint(len(nested)) + nested
                return nested

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Random headers, usually none."""
        chance = self.chance
        if chance.random() < 0.8:
            return ()
        return (
            ("x-odd", "x" * chance.choice((0, 1, 1000))),
            ("x-odd-bin", chance.randbytes(chance.choice((0, 1, 1000)))),
            ("authorization", chance.choice(("", "Bearer", "Bearer ", "Basic x", "Bearer " + "é".encode().hex() * 40))),
        )

    def _fill(self, message: Message, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self.chance.random() < 0.3 or (field.message_type is not None and depth == 0):
                continue
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                key, value = field.message_type.fields
                for _ in range(self.chance.randint(0, 3)):
                    if value.message_type is not None:
                        self._fill(getattr(message, field.name)[self._value(key)], depth - 1)
                    else:
                        getattr(message, field.name)[self._value(key)] = self._value(value)
            elif field.is_repeated:
                for _ in range(self.chance.choice((0, 1, 1, 1, 2, 3))):
                    if field.message_type is not None:
                        self._fill(getattr(message, field.name).add(), depth - 1)
                    else:
                        getattr(message, field.name).append(self._value(field))
            elif field.message_type is not None:
                below = getattr(message, field.name)
                below.SetInParent()
                self._fill(below, depth - 1)
            else:
                setattr(message, field.name, self._value(field))

    def _value(self, field: Any) -> Any:
        chance = self.chance
        if field.type in _TEXTS:
            text = self._text(field.name)
            return text if field.type == FieldDescriptor.TYPE_STRING else text.encode()
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return chance.choice((*(value.number for value in field.enum_type.values), 99, -1))
        if field.cpp_type in _KINDS_OF_NUMBERS:
            least, most = _KINDS_OF_NUMBERS[field.cpp_type]
            return max(least, min(most, chance.choice((*_NUMBERS, chance.randint(least, most)))))
        return chance.choice((0.0, -1.0, 1e300, float("inf"), float("nan")))

    def _text(self, name: str) -> str:
        plausible = self._plausible.get(name, ())
        if plausible and self.chance.random() < 0.7:
            return self.chance.choice(plausible)
        if name == "path":
            # Paths must not leave the test's folder.
            return f"{plausible[0]}-{self.chance.choice(_WORDS)}" if plausible else ""
        if self.chance.random() < 0.2:
            return str(uuid.UUID(int=self.chance.getrandbits(128)))
        return self.chance.choice(_WORDS)


def methods_of(service: str) -> Sequence[Any]:
    """The descriptors of a service's methods."""
    methods: Sequence[Any] = descriptor_pool.Default().FindServiceByName(service).methods
    return methods


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append((number & 0x7F) | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
