"""What the hub's client raises, as one line that says what, where and the way out; and where hub and cache are."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from headhunt_svc.errors import ConfigError, ModelError, UnreachableError, reason_of

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, else huggingface.co."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def cache_folder() -> Path:
    """Where the hub's client keeps models: HF_HUB_CACHE, below HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


@contextlib.contextmanager
def explained(mllm_id: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's client raises into one line that says what, where and the way out."""
    from huggingface_hub import errors

    page = f"{endpoint()}/{mllm_id}"
    try:
        yield
    except errors.GatedRepoError as exc:
        raise ModelError(
            f"{mllm_id} is gated: accept its terms on {page}, then log in with `hf auth login` or set HF_TOKEN to a "
            "token of that account"
        ) from exc
    except errors.RepositoryNotFoundError as exc:
        raise ModelError(
            f"{mllm_id} is neither a folder here nor a model of {endpoint()}, unless it is private: check the name; "
            "for a private one log in with `hf auth login` or set HF_TOKEN"
        ) from exc
    except errors.HFValidationError as exc:
        raise ConfigError(f"{mllm_id!r} is neither a folder that exists nor an id of the hub (owner/name)") from exc
    except errors.LocalEntryNotFoundError as exc:
        if is_offline():
            raise UnreachableError(_offline(mllm_id, revision)) from exc
        raise UnreachableError(_unreachable(exc.__cause__ or exc)) from exc
    except errors.HfHubHTTPError as exc:
        raise _refused(mllm_id, exc) from exc
    except errors.HTTPError as exc:  # type: ignore[attr-defined]  # of the transport: no connection, cut, timeout
        raise UnreachableError(_unreachable(exc)) from exc
    except ValueError as exc:  # a name of a file that leads elsewhere, a file that needs another way of download
        raise ModelError(f"{mllm_id} cannot be downloaded: {reason_of(exc)}") from exc
    except OSError as exc:
        raise _not_written(exc) from exc


def _not_written(exc: OSError) -> ModelError | UnreachableError:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(f"the disk of {cache_folder()} is full: free some space, or set HF_HOME to another")
    if exc.errno is None:  # the client's own check of the size
        return UnreachableError(_unreachable(exc))
    place = exc.filename or cache_folder()
    return ModelError(f"{place} cannot be written ({exc.strerror}): set HF_HOME to another folder")


def no_hub() -> str:
    """The line about a page, of a proxy for example, where a hub was expected."""
    return f"{endpoint()} answers, but not as a hub of models: check HF_ENDPOINT and the proxy"


def _offline(mllm_id: str, revision: str | None) -> str:
    where = f" at {revision}" if revision else ""
    return (
        f"{mllm_id}{where} is not in the cache ({cache_folder()}) and HF_HUB_OFFLINE is set: unset it and run "
        f"`headhunt models pull {mllm_id}`, or copy the cache from a machine that has it"
    )


def _unreachable(exc: BaseException) -> str:
    return (
        f"{endpoint()} does not answer or broke off ({reason_of(exc)}): check the connection or HF_ENDPOINT and run it "
        "again; whole files are kept"
    )


def _refused(mllm_id: str, exc: "HfHubHTTPError") -> ModelError | UnreachableError:
    status = exc.response.status_code
    if status in (401, 403):
        return ModelError(
            f"{endpoint()} refuses {mllm_id} ({status}): the token is wrong or may not read it; log in with `hf auth "
            "login` or set HF_TOKEN"
        )
    if status == 404:
        return ModelError(f"{mllm_id}: {exc.response.url} does not exist: was the model changed on the hub?")
    return UnreachableError(
        f"{endpoint()} answers {status} for {mllm_id}: try again later, or set HF_ENDPOINT to a mirror"
    )
