"""What a repository's card says: README.md with YAML at its head, as the hub has it."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub.repocard import metadata_load

from apdepth_deploy.errors import CheckpointError

CARD = "README.md"


def card_license(folder: Path) -> str | None:
    """The licence that a checkpoint's folder names; None where it has no card, or the card none.

    ``license: other`` is what ``license_name`` calls it. Raises CheckpointError for a card that
    can't be read.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        data = metadata_load(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} can't be read: {reason}. Mend its head, or name the licence with --license"
        ) from error
    said = (data or {}).get("license")
    if said == "other":
        said = (data or {}).get("license_name", said)
    names = said if isinstance(said, list) else [said]
    found = ", ".join(str(name) for name in names if name)
    return found[:200] or None
