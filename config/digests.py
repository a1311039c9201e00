"""The hashes that tell whether something changed. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping

from .catalogue import Catalogue
from .json_types import Json
from .manifests import BlueprintSpec, Part
from .revision import ProviderSpec


def blueprint_digest(
    spec: BlueprintSpec,
    order: Iterable[Part],
    catalogue: Catalogue,
    providers: Mapping[str, ProviderSpec],
) -> str:
    """Of everything that decides how a resource is made, in creation order.

    Cost, deadlines, labels and a provider's limits change nothing about a resource, so they do not
    make one outdated.
    """
    parts = list(order)
    finishing = {part.name for part in spec.finish}
    content: dict[str, Json] = {
        "parts": [_part(part, finish=part.name in finishing) for part in parts],
        "outputs": {name: output.model_dump(mode="json") for name, output in spec.outputs.items()},
        "parameters": dict(spec.parameters),
        "drivers": {part.driver: catalogue[part.driver].format_version for part in parts},
        "providers": {
            name: [providers[name].driver, dict(providers[name].settings)]
            for name in {part.provider or part.driver for part in parts}
            if name in providers
        },
    }
    return digest_of(content)


def _part(part: Part, *, finish: bool) -> Json:
    ready = None
    if part.ready is not None:
        ready = part.ready.model_dump(mode="json", exclude_none=True, exclude={"within", "every"})
    return [part.name, part.driver, part.provider, dict(part.with_), ready, finish]


def files_digest(files: Mapping[str, str | bytes]) -> str:
    """SHA-256 over the names and contents of the files, each with its length before it."""
    total = hashlib.sha256()
    for name in sorted(files):
        content = files[name]
        data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
        raw = name.encode(errors="surrogateescape")
        total.update(b"%d %d\n" % (len(raw), len(data)))
        total.update(raw)
        total.update(data)
    return total.hexdigest()


def digest_of(content: Json) -> str:
    """SHA-256 of the canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
