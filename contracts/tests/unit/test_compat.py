"""The check for breaking changes: silent today and for additions, loud for each planted break."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

sys.path.insert(0, str(Path(__file__).parents[2]))
compat = importlib.import_module("compat")


def test_nothing_that_older_machines_rely_on_has_changed() -> None:
    baseline = FileDescriptorSet.FromString(compat.BASELINE.read_bytes())

    assert compat.breaks(baseline, compat.present()) == []


def file(files: FileDescriptorSet, name: str) -> FileDescriptorProto:
    return next(f for f in files.file if f.name.endswith(f"/{name}.proto"))


def message(files: FileDescriptorSet, where: str, name: str) -> DescriptorProto:
    return next(m for m in file(files, where).message_type if m.name == name)


def field(files: FileDescriptorSet, name: str) -> FieldDescriptorProto:
    return next(f for f in message(files, "job", "Chunk").field if f.name == name)


def remove_field(files: FileDescriptorSet) -> None:
    del message(files, "job", "Chunk").field[1]


def renumber(files: FileDescriptorSet) -> None:
    field(files, "texts").number = 99


def retype(files: FileDescriptorSet) -> None:
    field(files, "first").type = FieldDescriptorProto.TYPE_STRING


def no_longer_repeated(files: FileDescriptorSet) -> None:
    field(files, "texts").label = FieldDescriptorProto.LABEL_OPTIONAL


def reuse_number(files: FileDescriptorSet) -> None:
    field(files, "texts").name = "words"


def another_message(files: FileDescriptorSet) -> None:
    field(files, "end").type_name = ".archipelag.v1.Usage"


def remove_message(files: FileDescriptorSet) -> None:
    del file(files, "job").message_type[0]


def reuse_enum_value(files: FileDescriptorSet) -> None:
    file(files, "common").enum_type[0].value[1].name = "CAUSE_BORED"


def remove_nested_enum(files: FileDescriptorSet) -> None:
    del message(files, "island", "CargoState").enum_type[0]


def remove_nested_field(files: FileDescriptorSet) -> None:
    del message(files, "cargo", "RunEvent").nested_type[0].field[0]


def remove_method(files: FileDescriptorSet) -> None:
    del file(files, "enrolment").service[0].method[0]


def no_longer_streams(files: FileDescriptorSet) -> None:
    file(files, "cargo").service[0].method[1].server_streaming = False


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (remove_field, "Chunk.texts (number 2) is gone"),
        (renumber, "Chunk.texts had number 2 and has 99"),
        (retype, "Chunk.first was optional uint64 and is optional string"),
        (no_longer_repeated, "Chunk.texts was repeated string"),
        (reuse_number, "number 2 is now used by words"),
        (another_message, "Chunk.end was"),
        (remove_message, "message archipelag.v1.Assignment is gone"),
        (reuse_enum_value, "was CAUSE_COMPLETED and is CAUSE_BORED"),
        (remove_nested_enum, "enum archipelag.v1.CargoState.State is gone"),
        (remove_nested_field, "RunEvent.Progress.step"),
        (remove_method, "method archipelag.v1.Enrolment.Challenge is gone"),
        (no_longer_streams, "method archipelag.v1.Cargo.Run was"),
    ],
)
def test_each_planted_break_is_told(plant: Callable[[FileDescriptorSet], None], said: str) -> None:
    changed = compat.present()
    plant(changed)

    found = compat.breaks(compat.present(), changed)

    assert any(said in one for one in found), found


def test_additions_are_fine() -> None:
    changed = compat.present()
    message(changed, "job", "Chunk").field.add(name="new", number=50, type=9, label=1)
    file(changed, "job").message_type.add(name="New")
    file(changed, "common").enum_type[0].value.add(name="CAUSE_NEW", number=77)

    assert compat.breaks(compat.present(), changed) == []
