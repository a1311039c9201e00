"""Starting one process: its environment, its limits, its logs, and what is said when it fails.

`subprocess` starts it with vfork, which takes under a millisecond however large the daemon is. A
`preexec_fn`, or `subprocess`'s own `user`, would fork the whole daemon instead: 20 ms in which
every other thread of it stands still, and code that must not run between fork and exec in a
program with threads. So limits and users are set by util-linux's `prlimit` and `setpriv`, which
become the program by exec: same process, same number. In the same way a shell enters the cgroup:
moved from outside, a program would have had time to fork, and what it forked would not be in it.
"""

import errno
import os
import pwd
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..driver import DriverError, Exhausted, Rejected
from .failures import explain
from .log_rotation import STDERR, STDOUT, open_log
from .process_settings import Limits, ProcessSettings
from .procfs import read_facts

_CAP_SYS_RESOURCE = 24
_SHELL = "/bin/sh"
_ENTERING = b"/bin/sh\0-c\0{ echo 0 >"
"""How the command line of a process begins that is still on its way into its cgroup."""
_BECOMES_WITHIN = 1.0
_LOOK_EVERY = 0.0002
_HEAD = 256
"""Bytes of a program that the kernel looks at to see what it is."""
_CANNOT_RUN = {
    errno.ENOENT: "it, or the interpreter that its first line names, does not exist",
    errno.EACCES: "it must not be executed; check its mode and the folders above it",
    errno.ENOEXEC: "it is no program for this machine, and has no line #! to say what runs it",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.ELOOP: "a symbolic link leads round in a circle",
    errno.E2BIG: "its arguments and environment are too long",
    errno.ENAMETOOLONG: "its name is too long",
}
_CANNOT_FORK = {
    errno.EAGAIN: "no more processes are allowed; raise TasksMax or the user's limit",
    errno.ENOMEM: "the host has no memory left",
}


def environment(settings: ProcessSettings, marks: Mapping[str, str]) -> dict[str, str]:
    """What the process sees: what it inherits by name, its own variables, and the marks."""
    inherited = {name: os.environ[name] for name in settings.inherit_env if name in os.environ}
    if settings.user is not None:
        user = _user(settings.user)
        inherited |= {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    return {**inherited, **settings.env, **marks}


def start(
    settings: ProcessSettings, folder: Path, env: Mapping[str, str], *, cgroup: Path | None = None
) -> int:
    """Starts it in a session of its own and returns its pid. The caller waits for it.

    `cgroup`: the `cgroup.procs` of the cgroup that it enters before the program begins.

    Raises `Rejected` when it can never be started like this, `Exhausted` without room for it.
    """
    words = _command_line(settings, env)
    if cgroup is not None:
        words = [*_entering(cgroup, env), *words]
    descriptors: list[int] = []
    # The new process gets this thread's signal mask.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        descriptors.extend(open_log(folder / name) for name in (STDOUT, STDERR))
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=descriptors[0],
            stderr=descriptors[1],
            cwd=settings.cwd,
            env=dict(env),
            umask=int(settings.umask, 8),
            start_new_session=True,
        )
        # Its end is seen by pidfd; subprocess must not wait for it behind our back.
        process.returncode = 0
        if cgroup is not None:
            _await_program(process.pid)
        return process.pid
    except OSError as error:
        raise _explained(settings, error) from error
    except ValueError as error:
        raise Rejected(f"{settings.command[0]} cannot be started: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for descriptor in descriptors:
            os.close(descriptor)


def _command_line(settings: ProcessSettings, env: Mapping[str, str]) -> list[str]:
    if not Path(settings.cwd).is_dir():
        raise Rejected(f"the folder {settings.cwd} (cwd of {settings.command[0]}) does not exist")
    program = _find_program(settings.command[0], settings.cwd, env.get("PATH", os.defpath))
    _check_format(program)
    words = [program, *settings.command[1:]]
    if settings.user is not None:
        words = [*_as_user(settings.user), *words]
    return [*_with_limits(settings.limits), *words]


def _find_program(name: str, cwd: str, path: str) -> str:
    """The program's path, as the process itself would find it. Raises `Rejected`."""
    if "/" in name:
        program = Path(cwd, name)
        if not program.exists():
            raise Rejected(f"there is no program {program}; correct the command")
        if program.is_dir() or not os.access(program, os.X_OK):
            raise Rejected(f"{program} is no executable file; check it with ls -l")
        return str(program)
    found = shutil.which(name, path=path)
    if found is None:
        raise Rejected(
            f"there is no program {name!r} in PATH ({path}); install it or write its full path"
        )
    return str(Path(found).absolute())


def _check_format(program: str) -> None:
    """Finds what only the exec would find, which may not be the first one. Raises `Rejected`."""
    try:
        with Path(program).open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return  # it may be run without being read; then the exec is what tells
    if head.startswith(b"#!"):
        line = head[2:].split(b"\n", 1)[0].split()
        if not line or not Path(os.fsdecode(line[0])).exists():
            raise Rejected(f"{program} cannot be started: {_CANNOT_RUN[errno.ENOENT]}")
    elif not head.startswith(b"\x7fELF") and not _other_formats():
        raise Rejected(f"{program} cannot be started: {_CANNOT_RUN[errno.ENOEXEC]}")


def _other_formats() -> bool:
    """Whether this kernel was told to run files of other kinds (binfmt_misc)."""
    with suppress(OSError):
        names = {entry.name for entry in Path("/proc/sys/fs/binfmt_misc").iterdir()}
        return bool(names - {"register", "status"})
    return False


def _entering(cgroup: Path, env: Mapping[str, str]) -> list[str]:
    """What a shell needs to enter the cgroup and become the program, leaving no variable behind."""
    added = [name for name in ("PWD", "OLDPWD", "SHLVL") if name not in env]
    forget = f"unset {' '.join(added)}; " if added else ""
    script = f'{{ echo 0 >"$1"; }} 2>/dev/null; shift; {forget}exec "$@"'
    return [_SHELL, "-c", script, "sh", str(cgroup)]


def _await_program(pid: int) -> None:
    """Until the shell that entered the cgroup has become the program, or has ended."""
    deadline = time.monotonic() + _BECOMES_WITHIN
    while time.monotonic() < deadline:
        with suppress(OSError):
            if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_ENTERING):
                facts = read_facts(pid)
                if facts is None or not facts.alive or Path(f"/proc/{pid}/environ").read_bytes():
                    return
        time.sleep(_LOOK_EVERY)


def _with_limits(limits: Limits) -> list[str]:
    wanted = {
        "nofile": (resource.RLIMIT_NOFILE, limits.open_files),
        "nproc": (resource.RLIMIT_NPROC, limits.processes),
        "fsize": (resource.RLIMIT_FSIZE, limits.file_size),
        "cpu": (resource.RLIMIT_CPU, limits.cpu_seconds),
        "as": (resource.RLIMIT_AS, limits.memory),
        "core": (resource.RLIMIT_CORE, limits.core_size),
    }
    options: list[str] = []
    for option, (kind, value) in wanted.items():
        soft, hard = resource.getrlimit(kind)
        if value is None or (soft, hard) == (value, value):
            continue
        if hard not in (resource.RLIM_INFINITY, value) and value > hard and not _may_raise():
            raise Rejected(
                f"the limit {option} of {value} is above what this host allows the daemon ({hard}); "
                "lower it or raise the daemon's own"
            )
        options.append(f"--{option}={value}:{value}")
    return [_tool("prlimit", "limits"), *options, "--"] if options else []


def _as_user(name: str) -> list[str]:
    if os.geteuid() != 0:
        raise Rejected(f"only root can start a process as the user {name!r}; remove `user`")
    user = _user(name)
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
    return [_tool("setpriv", "user"), *ids, "--"]


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise Rejected(f"this host has no user {name!r}") from None


def _tool(name: str, setting: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Rejected(f"`{setting}` needs the program {name} of util-linux; install it")
    return found


def _may_raise() -> bool:
    """Whether the daemon has CAP_SYS_RESOURCE. Root in a container often has not."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return False


def _explained(settings: ProcessSettings, error: OSError) -> DriverError:
    program = settings.command[0]
    code = error.errno or 0
    if error.filename == settings.cwd:
        return Rejected(f"{program} cannot be started in {settings.cwd}: {error.strerror}")
    if code in _CANNOT_FORK:
        return Exhausted(f"{program} cannot be started: {_CANNOT_FORK[code]}")
    if code in _CANNOT_RUN:
        return Rejected(f"{program} cannot be started: {_CANNOT_RUN[code]}")
    return explain(f"starting {program}", error)
