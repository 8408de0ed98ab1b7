"""The repository that the universal models are published in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashmd_train.convert.archive import INSTALL
from flashmd_train.convert.errors import ConversionError, one_line

REPOSITORY = "lab-cosmo/flashmd"


@dataclass(frozen=True)
class Download:
    """A checkpoint of the repository.

    Attributes:
        path: of the file, in the hub's own cache.
        revision: commit that it is of.
    """

    path: Path
    revision: str


def download(file: str, revision: str) -> Download:
    """A file of the repository, fetched unless it is there; ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_OFFLINE`` count.

    Args:
        file: its name.
        revision: branch, tag or commit.

    Raises:
        ConversionError: it cannot be had, saying why.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise ConversionError(f"huggingface_hub is not installed; install it with: {INSTALL}") from None
    try:
        path = huggingface_hub.hf_hub_download(REPOSITORY, file, revision=revision)
    except Exception as error:  # Its network library raises errors of its own, which have changed before.
        raise ConversionError(_reason(error, file, revision, huggingface_hub)) from error
    return Download(Path(path), Path(path).parent.name)


def _reason(error: Exception, file: str, revision: str, hub: Any) -> str:
    """Why a file could not be had, in one sentence."""
    errors, endpoint = hub.errors, hub.constants.ENDPOINT
    place = f"{REPOSITORY} on {endpoint}"
    if isinstance(error, errors.LocalEntryNotFoundError):
        if hub.constants.HF_HUB_OFFLINE:
            return (
                f"{file} of {REPOSITORY} at {revision} is not in the hub's cache, {hub.constants.HF_HUB_CACHE}, and "
                "HF_HUB_OFFLINE is set; fetch it once without, or copy a fetched model from another machine"
            )
        cause = error.__cause__ or error
        return (
            f"{file} is not in the hub's cache, and {place} cannot be reached ({one_line(cause)}); see to the "
            "connection or to HF_ENDPOINT, or copy a fetched model from another machine"
        )
    if isinstance(error, errors.GatedRepoError):
        return f"{place} asks for a login; accept its terms there and log in: hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no repository {place}, or it asks for a login"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{place} has no revision {revision!r}; give a branch, tag or commit of it"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{place} has no file {file} at revision {revision}; it may have been renamed: see which files it has"
    return f"{file} could not be downloaded from {place} ({one_line(error)}); what has arrived is kept: try again"
