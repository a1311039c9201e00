"""From the settings to the source that the configuration comes from."""

import os

from ..config.catalogue import Catalogue
from ..config.directory import DirectorySource
from ..config.repositories.access import Access, Verify
from ..config.repositories.following import Rules
from ..config.repositories.source import RepositorySource, Wanted
from ..config.repositories.urls import Location
from ..config.settings import Settings
from ..pools.clock import Clock
from ..pools.fleet import Fleet

FOLDER = "repository"
"""Of the local copy, below the state folder."""


def open_source(
    settings: Settings, catalogue: Catalogue, fleet: Fleet, clock: Clock
) -> DirectorySource | RepositorySource:
    if not isinstance(settings.config, Location):
        return DirectorySource(settings.config, catalogue)
    named = Access(
        token=settings.config_token,
        key=settings.config_key,
        known_hosts=settings.config_known_hosts,
        ca=settings.config_ca,
    )
    verify = Verify(gpg=settings.verify_gpg, ssh=settings.verify_ssh)
    wanted = Wanted(
        settings.config,
        named.with_credentials(os.environ),
        Rules(verify, settings.allow_rewind),
        settings.state / FOLDER,
    )
    return RepositorySource(
        wanted,
        catalogue,
        serving=lambda: fleet.revision,
        now=clock.now,
        poll=settings.config_poll,
    )
