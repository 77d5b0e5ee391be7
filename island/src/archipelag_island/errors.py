"""Errors of the Island. Data stands in attributes; `code` is stable; the text says what to do.

IslandError
├── BadSettings            the environment says something that cannot be
├── WrongUsage             what was typed lacks a word, or has one that cannot be
├── AlreadyRunning         another agent uses this ISLAND_HOME
├── NotRunning             no agent runs there that could be asked
├── ControlFailed          it runs, but does not answer as it should
├── EnrolmentRefused       `reason`; trying again with the same pairing code will not help
├── AccountRefused         the owner's key is missing, or the Coordinator does not let it look
├── CoordinatorUnreachable try again later
├── BrokerUnreachable      no connection to the message broker; try again later
├── NoAnswer               connected, but nobody answered in time
├── JournalFull            no room to remember another attempt: disk full or too many unsettled ones
├── BadCatalogue           a catalogue that is older than one seen, or has expired
├── BadRelease             a release of the Island's software that is older, expired, or not what was signed
├── ReleaseUnavailable     it could not be had or not be kept; try again later
├── UpdateUnproven         a new version that reaches no Coordinator: the one before goes on
├── BadEntry               a catalogue entry that is not signed by a trusted publisher, or is not what it claims
├── ModelUnavailable       the weights could not be had
├── ImageUnavailable       the image could not be had, or is not what was signed
├── FilesUnavailable       an input file could not be had, or an output file not be delivered
└── RuntimeFailed
    ├── NotUsable          this host cannot run this runtime; the text says what is missing
    ├── StartFailed        the Cargo's process could not be started
    ├── NotReady           it is there, but cannot take runs yet
    ├── NoSlot             it holds as many runs as it can
    ├── BadInput           it does not accept this input; the text is for the customer
    ├── CargoFailed        it reported an error of its own
    └── CargoDied          its process ended without saying so
"""

from __future__ import annotations

from typing import ClassVar


class IslandError(Exception):
    """Something expected went wrong; the code is stable."""

    code: ClassVar[str] = "error"


class BadSettings(IslandError):
    code = "bad_settings"


class WrongUsage(IslandError):
    code = "wrong_usage"


class AlreadyRunning(IslandError):
    code = "already_running"


class NotRunning(IslandError):
    code = "not_running"


class ControlFailed(IslandError):
    code = "control_failed"


class EnrolmentRefused(IslandError):
    code = "enrolment_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AccountRefused(IslandError):
    code = "account_refused"


class CoordinatorUnreachable(IslandError):
    code = "coordinator_unreachable"


class BrokerUnreachable(IslandError):
    code = "broker_unreachable"


class NoAnswer(IslandError):
    code = "no_answer"


class JournalFull(IslandError):
    code = "journal_full"


class BadCatalogue(IslandError):
    code = "bad_catalogue"


class BadRelease(IslandError):
    code = "bad_release"


class ReleaseUnavailable(IslandError):
    code = "release_unavailable"


class UpdateUnproven(IslandError):
    code = "update_unproven"


class BadEntry(IslandError):
    code = "bad_entry"


class ModelUnavailable(IslandError):
    code = "model_unavailable"


class ImageUnavailable(IslandError):
    code = "image_unavailable"


class FilesUnavailable(IslandError):
    code = "files_unavailable"


class RuntimeFailed(IslandError):
    code = "runtime_failed"


class NotUsable(RuntimeFailed):
    code = "not_usable"


class StartFailed(RuntimeFailed):
    code = "start_failed"


class NotReady(RuntimeFailed):
    code = "not_ready"


class NoSlot(RuntimeFailed):
    code = "no_slot"


class BadInput(RuntimeFailed):
    code = "bad_input"


class CargoFailed(RuntimeFailed):
    code = "cargo_failed"


class CargoDied(RuntimeFailed):
    code = "cargo_died"
