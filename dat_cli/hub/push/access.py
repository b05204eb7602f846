"""Who may write to a repository on the Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dat_cli.errors import HubError
from dat_cli.hub.client.addresses import check_endpoint
from dat_cli.hub.client.api import patiently
from dat_cli.hub.client.exceptions import kind_of, plain, root_of
from dat_cli.hub.client.problems import LOG_IN, NEW_TOKEN
from dat_cli.hub.names import RepoName

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def require_login() -> None:
    """Refuse at once, without a request, when nobody is logged in.

    Raises:
        HubError: There is no token, or no address that can be a Hub's.
    """
    check_endpoint()
    from huggingface_hub import get_token

    if get_token() is None:
        raise HubError("you are not logged in to the Hub", hint=LOG_IN)


def open_repository(api: HfApi, repo: RepoName, *, private: bool) -> None:
    """Make the repository unless it is there, and see that it may be written to.

    Args:
        api: The client.
        repo: The repository.
        private: Make it private, if it is new.

    Raises:
        HubError: It may not be written to; says whether that is for the token or for whose it is.
        Exception: What the client raises.
    """
    try:
        patiently(lambda: api.create_repo(repo.id, private=True if private else None, exist_ok=True))
        patiently(lambda: api.auth_check(repo.id, write=True))
    except Exception as error:
        if kind_of(root_of(error)) == "forbidden" and (why := _why_not(api, repo)):
            raise why from None
        raise


def _why_not(api: HfApi, repo: RepoName) -> HubError | None:
    """What the Hub does not say when it forbids to write; None when that cannot be told."""
    try:
        me = api.whoami()
        name, owners = me["name"], {me["name"], *(org["name"] for org in me["orgs"])}
        role = _role(me)
    except Exception:  # noqa: BLE001 - that writing is forbidden is what is told then
        return None
    user = plain(str(name), 100)
    if repo.owner.lower() not in {str(owner).lower() for owner in owners}:
        hint = f"push to {user}/{repo.name}, or log in as somebody who may write there"
        return HubError(
            f"cannot push to {repo.id}: it belongs to somebody else; you are logged in as {user}", hint=hint
        )
    if role == "read":
        return HubError(
            f"cannot push to {repo.id}: your token is read-only; you are logged in as {user}", hint=NEW_TOKEN
        )
    return None


def _role(me: Any) -> Any:
    """``read``, ``write`` or ``fineGrained``."""
    return me["auth"]["accessToken"]["role"] if "auth" in me else me.get("role")
