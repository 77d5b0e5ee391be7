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
    BadAnswer,
    BadRequest,
    BudgetExceeded,
    Conflict,
    IdempotencyMismatch,
    InsufficientCredits,
    InvalidInput,
    JobFailed,
    NoCapacity,
    NotAuthenticated,
    NotFound,
    NothingOffered,
    NotPermitted,
    NotReachable,
    RateLimited,
    ServerError,
    StreamBroken,
    TooLarge,
    Unsupported,
)
from archipelag.values import (
    Account,
    ApiKey,
    Attempt,
    ChatAnswer,
    ChatPiece,
    File,
    FilePage,
    Host,
    Job,
    JobEvent,
    JobPage,
    Model,
    Stats,
    Usage,
    Workload,
)

__all__ = [
    "Account",
    "ApiError",
    "ApiKey",
    "ArchipelagError",
    "AsyncChatStream",
    "AsyncClient",
    "Attempt",
    "BadAnswer",
    "BadRequest",
    "BudgetExceeded",
    "ChatAnswer",
    "ChatPiece",
    "ChatStream",
    "Client",
    "Conflict",
    "File",
    "FilePage",
    "Host",
    "IdempotencyMismatch",
    "InsufficientCredits",
    "InvalidInput",
    "Job",
    "JobEvent",
    "JobFailed",
    "JobPage",
    "Model",
    "NoCapacity",
    "NotAuthenticated",
    "NotFound",
    "NotPermitted",
    "NotReachable",
    "NothingOffered",
    "RateLimited",
    "ServerError",
    "Stats",
    "StreamBroken",
    "TooLarge",
    "Unsupported",
    "Usage",
    "Workload",
]
