"""Every kind of document that a config directory may hold."""

from typing import TypeAlias

from .manifests import Blueprint, Pool, Provider
from .policies.manifests import Policy, PolicyTest

AnyKind: TypeAlias = Blueprint | Pool | Provider | Policy | PolicyTest

KINDS: dict[str, type[AnyKind]] = {
    "Blueprint": Blueprint,
    "Pool": Pool,
    "Provider": Provider,
    "Policy": Policy,
    "PolicyTest": PolicyTest,
}
