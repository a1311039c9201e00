"""What every ledger keeps, run over each kind of it.

For a kind, write a class `TestX(LedgerContract)` with a fixture `disk` that yields a `Disk`: what
outlives a store, so that the tests can crash it and open it again.
"""

import pytest

from tests.stores.contract_claims import ClaimPromises
from tests.stores.contract_events import EventPromises
from tests.stores.contract_rows import RowPromises
from tests.stores.contract_secrets import ContentPromises
from tests.stores.disks import Disk


class LedgerContract(RowPromises, ClaimPromises, EventPromises, ContentPromises):
    """The promises of `stoker.pools.store.Store`."""

    @pytest.fixture
    def disk(self) -> Disk:
        raise NotImplementedError
