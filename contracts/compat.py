"""Compares the messages with `baseline.binpb`: what two released versions agree on may grow, never change.

`--update` takes the present messages as the new baseline, which belongs into a release, not into a fix.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

BASELINE = Path(__file__).parent / "baseline.binpb"


def present() -> FileDescriptorSet:
    """The messages as this package has them now."""
    from archipelag_contracts.pb.archipelag.v1 import (
        cargo_pb2,
        common_pb2,
        enrolment_pb2,
        files_pb2,
        island_pb2,
        job_pb2,
    )

    found = FileDescriptorSet()
    for module in (cargo_pb2, common_pb2, enrolment_pb2, files_pb2, island_pb2, job_pb2):
        module.DESCRIPTOR.CopyToProto(found.file.add())
    return found


def breaks(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Each change that a machine with the old messages would stumble over."""
    found: list[str] = []
    old_messages, new_messages = dict(_messages(old.file)), dict(_messages(new.file))
    for name, message in old_messages.items():
        if name in new_messages:
            found += _message_breaks(name, message, new_messages[name])
        else:
            found.append(f"message {name} is gone")
    old_enums, new_enums = dict(_enums(old.file)), dict(_enums(new.file))
    for name, enum in old_enums.items():
        if name in new_enums:
            found += _enum_breaks(name, enum, new_enums[name])
        else:
            found.append(f"enum {name} is gone")
    old_methods, new_methods = _methods(old.file), _methods(new.file)
    for name, shape in old_methods.items():
        if name not in new_methods:
            found.append(f"method {name} is gone")
        elif new_methods[name] != shape:
            found.append(f"method {name} was {shape} and is {new_methods[name]}")
    return found


def _message_breaks(name: str, old: DescriptorProto, new: DescriptorProto) -> list[str]:
    found = []
    by_number = {field.number: field for field in new.field}
    names = {field.name: field.number for field in new.field}
    for field in old.field:
        label = f"{name}.{field.name}"
        now = by_number.get(field.number)
        if field.name in names and names[field.name] != field.number:
            found.append(f"{label} had number {field.number} and has {names[field.name]}")
        elif now is None:
            found.append(f"{label} (number {field.number}) is gone")
        elif now.name != field.name:
            found.append(f"{label}: number {field.number} is now used by {now.name}")
        elif _shape(now) != _shape(field):
            found.append(f"{label} was {_shape(field)} and is {_shape(now)}")
    return found


def _enum_breaks(name: str, old: EnumDescriptorProto, new: EnumDescriptorProto) -> list[str]:
    now = {value.number: value.name for value in new.value}
    return [
        f"{name}: value {value.number} was {value.name} and is {now.get(value.number, 'gone')}"
        for value in old.value
        if now.get(value.number) != value.name
    ]


def _shape(field: FieldDescriptorProto) -> str:
    """What the bytes of a field depend on, in words."""
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
    one_of = " in a oneof" if field.HasField("oneof_index") else ""
    return f"{label} {kind}{field.type_name}{one_of}"


def _messages(files: Iterable[FileDescriptorProto]) -> Iterable[tuple[str, DescriptorProto]]:
    for file in files:
        for message in file.message_type:
            yield from _nested(f"{file.package}.{message.name}", message)


def _nested(name: str, message: DescriptorProto) -> Iterable[tuple[str, DescriptorProto]]:
    yield name, message
    for inner in message.nested_type:
        yield from _nested(f"{name}.{inner.name}", inner)


def _enums(files: Iterable[FileDescriptorProto]) -> Iterable[tuple[str, EnumDescriptorProto]]:
    for file in files:
        for enum in file.enum_type:
            yield f"{file.package}.{enum.name}", enum
    for name, message in _messages(files):
        for enum in message.enum_type:
            yield f"{name}.{enum.name}", enum


def _methods(files: Iterable[FileDescriptorProto]) -> dict[str, str]:
    return {
        f"{file.package}.{service.name}.{method.name}": (
            f"{'stream ' * method.client_streaming}{method.input_type} → "
            f"{'stream ' * method.server_streaming}{method.output_type}"
        )
        for file in files
        for service in file.service
        for method in service.method
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the baseline anew")
    if parser.parse_args().update:
        BASELINE.write_bytes(present().SerializeToString(deterministic=True))
        return
    found = breaks(FileDescriptorSet.FromString(BASELINE.read_bytes()), present())
    if found:
        sys.exit("the messages break what older machines rely on:\n  " + "\n  ".join(found))


if __name__ == "__main__":
    main()
