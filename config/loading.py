"""Files to a `Revision`, or to all that is wrong with them: the door of this room.

    result = load_directory(Path("/etc/stoker/config"), catalogue)
    if result.revision is None:
        report(result.problems)

`load` is pure and is also used for what the ledger kept as the last known good.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .catalogue import Catalogue
from .checking import Reuse, check
from .digests import files_digest
from .documents import decode, read_documents
from .problems import Problem, Severity, errors, sort
from .revision import Revision
from .trees import Tree, read_tree

__all__ = ["LoadResult", "Reuse", "Tree", "load", "load_directory", "load_tree", "read_tree"]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of a set of files."""

    revision: Revision | None
    """None when there is any error."""
    problems: tuple[Problem, ...]
    """All of them, in the order of their places; warnings may stand beside a revision."""
    digest: str
    """Of the files, also when they are broken."""
    source: str
    commit: str = ""
    """The Git commit that the files are of, if any."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        return errors(self.problems)


def load(
    files: Mapping[str, str | bytes],
    catalogue: Catalogue,
    source: str,
    *,
    reuse: Reuse | None = None,
    problems: tuple[Problem, ...] = (),
    commit: str = "",
) -> LoadResult:
    """Parses, checks and compiles. Never raises, whatever the files hold.

    `source` says to people where the files come from. `problems` are those that reading the files
    met already. `reuse` carries from one load to the next what stays the same. `commit` is the Git
    commit that the files are of, if any.
    """
    digest = files_digest(files)
    reuse = reuse or Reuse()
    documents, found = read_documents(files, reuse.files)
    found += problems
    complete = not errors(found)
    if not documents and complete:
        found.append(
            Problem(
                source, 0, 0, "", "there is no document in any *.yaml or *.yml file",
                "write a Pool and a Blueprint; 'stoker init DIR' makes an example",
            )
        )  # fmt: skip
    checked = check(documents, catalogue, complete=complete, reuse=reuse)
    found += checked.problems
    if errors(found):
        return LoadResult(None, sort(found), digest, source, commit)
    if not checked.pools:
        found.append(
            Problem(
                source, 0, 0, "", "no pool is declared, so nothing is kept ready",
                "write a document of the kind Pool", Severity.WARNING,
            )
        )  # fmt: skip
    texts = {name: decode(content) for name, content in sorted(files.items())}
    revision = Revision(
        id=(commit or digest)[:12],
        digest=digest,
        source=source,
        pools=checked.pools,
        providers=checked.providers,
        files=texts,
        policies=checked.policies,
        policy_tests=checked.policy_tests,
        commit=commit,
        accepts=checked.accepts,
    )
    return LoadResult(revision, sort(found), digest, source, commit)


def load_tree(tree: Tree, catalogue: Catalogue, *, reuse: Reuse | None = None) -> LoadResult:
    """The same for a snapshot of a directory."""
    return load(tree.files, catalogue, str(tree.root), reuse=reuse, problems=tree.problems)


def load_directory(path: Path, catalogue: Catalogue) -> LoadResult:
    """Reads a consistent snapshot of the directory and loads it. Never raises. Blocks on the disk."""
    return load_tree(read_tree(path), catalogue)
