"""What the library ``datasets``, the Hub's client and the network say about a data set, in one line of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dat_cli.data.walk import printable
from dat_cli.errors import DataError, DatError, HubError

_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
_NETWORK = (
    "ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "TimeoutException", "TimeoutError", "NetworkError",
    "ProtocolError", "RemoteProtocolError", "ConnectionError", "ClientError", "ServerDisconnectedError", "gaierror",
)  # fmt: skip
_DAMAGED = ("ArrowInvalid", "ArrowException", "DatasetGenerationError", "CastError")


@contextmanager
def hub_errors(name: str, revision: str | None) -> Iterator[None]:
    """Raise whatever goes wrong as one line, and show nothing else of it: requests hold the token.

    Args:
        name: The data set, ``owner/name``.
        revision: Its revision, where one is given.

    Raises:
        HubError: The Hub refuses or is out of reach.
        DataError: Its files are not what they should be.
    """
    try:
        yield
    except (DatError, MemoryError, GeneratorExit):
        raise
    except Exception as error:  # noqa: BLE001 - three libraries raise nearly everything
        raise _told(error, name, revision) from None


def require_online() -> None:
    """Refuse at once where requests are switched off; the libraries would say that they have found nothing.

    Raises:
        OfflineModeIsEnabled: They are.
    """
    from datasets import config  # type: ignore[import-untyped]  # it has none
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if constants.is_offline_mode() or config.HF_HUB_OFFLINE:
        raise OfflineModeIsEnabled


def _told(error: Exception, name: str, revision: str | None) -> DatError:
    names, text = _chain(error)
    if "OfflineModeIsEnabled" in names:
        hint = "unset HF_HUB_OFFLINE"
        return HubError(f"cannot read {name}: requests are switched off by HF_HUB_OFFLINE", hint=hint)
    if "GatedRepoError" in names or "gated dataset" in text:
        return HubError(f"{name} is gated: its owner lets in who asks", hint=f"{_LOG_IN}, and ask on the Hub's page")
    if "RevisionNotFoundError" in names or "Revision '" in text:
        return HubError(f"{name} has no revision {revision!a}", hint="give a branch, a tag or a commit")
    if "EmptyDatasetError" in names or "DataFilesNotFoundError" in names:
        return DataError(f"{name} holds no files of data", hint="name a data set with parquet files")
    if names & {"RepositoryNotFoundError", "DatasetNotFoundError"}:
        hint = f"check the name, or {_LOG_IN}"
        return HubError(f"there is no data set {name} on the Hub, or it is private to others", hint=hint)
    if "BuilderConfig" in text:
        return DataError(f"{name}: {_first_line(error)}", hint="name the configuration: hf://datasets/owner/name:NAME")
    if names & set(_DAMAGED):
        return DataError(f"a file of {name} is damaged ({_first_line(error)})", hint="tell its owner")
    if names & set(_NETWORK):
        hint = "check the connection, or try again later"
        return HubError(f"cannot read {name}: the Hub cannot be reached ({_first_line(error)})", hint=hint)
    return HubError(f"cannot read {name}: {type(error).__name__}: {_first_line(error)}")


def _chain(error: BaseException) -> tuple[set[str], str]:
    """Names of the classes of an exception and of those that it came from, and what they say."""
    names, texts, seen = set[str](), list[str](), set[int]()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            names |= {kind.__name__ for kind in type(each).__mro__}
            texts.append(str(each))
            pending += [each.__cause__, each.__context__]
    return names, "\n".join(texts)


def _first_line(error: Exception) -> str:
    """What it says, without the part of an address where a signature may stand."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return printable(" ".join(word.partition("?")[0] for word in line.split()))[:200]
