"""A durable ledger of what was sent, and the exact tables that must come of it."""

from include.simulator.ledger.compare import compare_with_database
from include.simulator.ledger.store import Counts, Ledger, LedgerError, Pending, SenderBusyError, SenderState
from include.simulator.ledger.tables import QuotaRow, TotalRow, User, read_users

__all__ = [
    "Counts",
    "Ledger",
    "LedgerError",
    "Pending",
    "QuotaRow",
    "SenderBusyError",
    "SenderState",
    "TotalRow",
    "User",
    "compare_with_database",
    "read_users",
]
