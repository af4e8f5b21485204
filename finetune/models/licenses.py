"""Under which licence weights are published, as far as who publishes them says so. Never a guess."""

from __future__ import annotations

from ..errors import ConfigError, nearest
from .backbones import LIBRARIES, library, list_backbones, resolve
from .library import stated_license
from .options import Backbone
from .weights import read_config

PERMISSIVE = ("apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "isc", "mit", "unlicense")
"""Any use, commercial too, of changed and unchanged weights, at most with the authors named. What else a licence with a
name of its own allows is for its reader to judge."""


def license_of(backbone: Backbone) -> str | None:
    """The licence that is stated for the weights that this backbone would be built with.

    Args:
        backbone: Its name is one that there is.

    Returns:
        An identifier such as "apache-2.0" or "cc-by-nc-4.0", or the address of the text; None where nothing is stated:
        for most of torchvision's weights, whose code alone is BSD, and for a file of one's own.

    Raises:
        WeightsError: A folder of weights whose config.json cannot be read.
    """
    if backbone.module is not None or backbone.weights == "none":
        return None
    if backbone.weights != "default":
        # A copy of a hub repository brings the words of its publisher; a bare file brings none, and need not be theirs.
        config = (read_config(backbone.weights) or {}).get("pretrained_cfg")
        return stated_license(config.get("license") if isinstance(config, dict) else None)
    found = resolve(backbone)
    return None if found.library == "module" else library(found.library).license(found.architecture, found.tag)


def check_license(wanted: str | None) -> str | None:
    """What is wrong with a wish for licences; None where nothing is.

    Args:
        wanted: "permissive", an identifier, or several with commas; None wishes for nothing.
    """
    known = ("permissive", *sorted({*PERMISSIVE, *_published()})) if wanted is not None else ()
    wrong = [one for one in _several(wanted) if one not in known]
    if wanted is None or (not wrong and _several(wanted)):
        return None
    named = wrong[0] if wrong else ""
    return f'Unknown licence "{named}". Expected permissive, or some of {", ".join(known[1:])}.{nearest(named, known)}'


def allows(wanted: str | None, license: str | None) -> bool:
    """Whether a licence is among those that are wished for; what is not stated never is."""
    if wanted is None:
        return True
    asked = _several(wanted)
    return license is not None and (license in asked or ("permissive" in asked and license in PERMISSIVE))


def licensed_backbones(pattern: str = "*", license: str | None = None) -> dict[str, str | None]:
    """Every backbone that can be named, and the licence of its published weights.

    Args:
        pattern: As for `list_backbones`.
        license: As for `check_license`; leaves out all others.

    Raises:
        ConfigError: An unknown licence.
    """
    if wrong := check_license(license):
        raise ConfigError(wrong)
    found = {id: license_of(Backbone(id)) for id in list_backbones(pattern)}
    return {id: own for id, own in found.items() if allows(license, own)}


def _published() -> set[str]:
    """The identifiers that occur among published weights."""
    found = {library(name).license(*place) for name in LIBRARIES for known in library(name).names()
             if (place := library(name).find(known))}  # fmt: skip
    return {one for one in found if one is not None and "/" not in one}


def _several(wanted: str | None) -> list[str]:
    return [one.strip().lower() for one in (wanted or "").split(",") if one.strip()]
