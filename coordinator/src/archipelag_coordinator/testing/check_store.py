"""What every store must do, the memory one like PostgreSQL: a class of tests over a fixture `store`.

Make a subclass whose name begins with `Test`, and a fixture `store` that gives an empty store.
"""

from __future__ import annotations

from archipelag_coordinator.testing.check_batches import CheckBatches
from archipelag_coordinator.testing.check_cargos import CheckCargos, CheckDocuments
from archipelag_coordinator.testing.check_conversations import CheckConversations
from archipelag_coordinator.testing.check_files import CheckFiles
from archipelag_coordinator.testing.check_homes import CheckHomes
from archipelag_coordinator.testing.check_items import CheckItems
from archipelag_coordinator.testing.check_ledger import CheckLedger
from archipelag_coordinator.testing.check_lines import CheckLines
from archipelag_coordinator.testing.check_nouns import (
    CheckCoordinators,
    CheckDoor,
    CheckIslands,
    CheckKeys,
    CheckTransactions,
    CheckUsers,
)
from archipelag_coordinator.testing.check_operating import CheckOperating
from archipelag_coordinator.testing.check_pay import CheckPay
from archipelag_coordinator.testing.check_people import CheckPeople
from archipelag_coordinator.testing.check_sums import CheckSums
from archipelag_coordinator.testing.check_turns import CheckTurns
from archipelag_coordinator.testing.check_work import CheckAttempts, CheckJobs


class CheckStore(
    CheckTransactions,
    CheckUsers,
    CheckKeys,
    CheckPeople,
    CheckCargos,
    CheckDocuments,
    CheckIslands,
    CheckJobs,
    CheckTurns,
    CheckLines,
    CheckHomes,
    CheckItems,
    CheckAttempts,
    CheckLedger,
    CheckPay,
    CheckFiles,
    CheckBatches,
    CheckSums,
    CheckOperating,
    CheckConversations,
    CheckCoordinators,
    CheckDoor,
):
    """Every promise of the port."""
