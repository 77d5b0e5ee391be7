"""Client of an Archipelag network: chat, jobs, models and keys in a few lines.

from archipelag import Client

with Client() as client:
    for piece in client.chat_stream("What is an archipelago?"):
        print(piece.text, end="", flush=True)
"""

from archipelag.async_client import AsyncChatStream, AsyncClient
from archipelag.client import ChatStream, Client
from archipelag.errors import (
    ApiError,
    ArchipelagError,
    AuthenticationError,
    BadAnswerError,
    BadRequestError,
    BudgetExceededError,
    ConflictError,
    ConnectionError,  # noqa: A004 - they are the builtin ones too
    GoneError,
    IdempotencyMismatchError,
    InsufficientCreditsError,
    JobFailedError,
    NotFoundError,
    NothingOfferedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    ServiceUnavailableError,
    StreamBrokenError,
    TimeoutError,  # noqa: A004
    TooLargeError,
    UnsupportedError,
    ValidationError,
)
from archipelag.values import (
    Account,
    ApiKey,
    Attempt,
    ChatAnswer,
    ChatPiece,
    File,
    Island,
    Job,
    JobEvent,
    Karma,
    Model,
    Stats,
    Usage,
    UsageRow,
    Workload,
)
from archipelag.values_of_batches import Batch, BatchItem, Embeddings, Picture
from archipelag.values_of_cargos import Cargo, CargoCheck
from archipelag.values_of_money import Earning, Transfer, UsageSum
from archipelag.values_of_people import Grant, Session, User
from archipelag.values_of_why import (
    AttemptWhy,
    IslandReason,
    IslandWhy,
    JobWhy,
    Obstacle,
    Preference,
    Waiting,
)

__all__ = [
    "Account",
    "ApiError",
    "ApiKey",
    "ArchipelagError",
    "AsyncChatStream",
    "AsyncClient",
    "Attempt",
    "AttemptWhy",
    "AuthenticationError",
    "BadAnswerError",
    "BadRequestError",
    "Batch",
    "BatchItem",
    "BudgetExceededError",
    "Cargo",
    "CargoCheck",
    "ChatAnswer",
    "ChatPiece",
    "ChatStream",
    "Client",
    "ConflictError",
    "ConnectionError",
    "Earning",
    "Embeddings",
    "File",
    "GoneError",
    "Grant",
    "IdempotencyMismatchError",
    "InsufficientCreditsError",
    "Island",
    "IslandReason",
    "IslandWhy",
    "Job",
    "JobEvent",
    "JobFailedError",
    "JobWhy",
    "Karma",
    "Model",
    "NotFoundError",
    "NothingOfferedError",
    "Obstacle",
    "PermissionDeniedError",
    "Picture",
    "Preference",
    "RateLimitError",
    "ServerError",
    "ServiceUnavailableError",
    "Session",
    "Stats",
    "StreamBrokenError",
    "TimeoutError",
    "TooLargeError",
    "Transfer",
    "UnsupportedError",
    "Usage",
    "UsageRow",
    "UsageSum",
    "User",
    "ValidationError",
    "Waiting",
    "Workload",
]
