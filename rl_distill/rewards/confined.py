"""Runs inside the sandbox: confines its own process for good, then runs a program in it. Nothing here is trusted afterwards.

`sandbox.run` starts Python with this module alone; it imports little, since every run pays for it (so no `json` without need, no
`typing`, no `signal`). Everything that could reach beyond the process is given up before the first line of the program, in an
order in which no step undoes another, and the kernel lets no process take any of it back:

1. limits       CPU seconds, address space, size of a file, open files; no core file; death when the parent dies
2. privileges   no capabilities, and none to be had from any program
3. files        Landlock: read Python and the shared libraries, write in the scratch folder, nothing else
4. calls        seccomp: the calls of `CALLS`; to the program every other one does not exist (ENOSYS)

Step 4 leaves no way to make a process, a socket or a signal. So there is one process, its limits are the limits of
everything that the program does, and nothing of it is left when it is dead.

Without isolation there is only step 1, in a child of this process: it stays behind to end whatever the program leaves.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import site
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

READY = b"ready\n"  # stands at the start of the result if, and only if, the program was run
OPEN_FILES = 32

# What Python needs to compute, to read and write files it may open, to have threads and to tell the time.
_ANY_ARGUMENTS = [
    # reading and writing what is open
    "read", "readv", "pread64", "write", "writev", "pwrite64", "close", "lseek", "dup", "dup2", "dup3", "pipe", "pipe2",
    "poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2",
    # files and folders, as far as Landlock lets them be opened
    "fstat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd",
    "getdents64", "unlink", "unlinkat", "rename", "renameat", "renameat2", "ftruncate", "fsync", "fdatasync", "fadvise64",
    # memory and threads
    "mmap", "mprotect", "munmap", "mremap", "madvise", "brk", "futex", "set_robust_list", "rseq", "sched_yield",
    "sched_getaffinity",
    # who and where
    "gettid", "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid",
    # its own signals and timers
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "setitimer", "getitimer",
    # time
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times",
    # the rest
    "getrusage", "getrlimit", "getrandom", "uname", "sysinfo", "exit", "exit_group",
]  # fmt: skip

# Where arguments are named, each line {position: (mask, value)} is one way in which a call is allowed: argument & mask == value.
_EXACT = 0xFFFF_FFFF_FFFF_FFFF
_CLONE_THREAD = 0x10000
CALLS: dict[str, Sequence[Mapping[int, tuple[int, int]]]] = {
    **dict.fromkeys(_ANY_ARGUMENTS, ({},)),
    # Landlock before Linux 6.2 does not see a file being emptied by being opened for reading.
    "openat": (
        {2: (os.O_TRUNC, 0)},
        {2: (os.O_ACCMODE, os.O_WRONLY)},
        {2: (os.O_ACCMODE, os.O_RDWR)},
    ),
    "clone": ({0: (_CLONE_THREAD, _CLONE_THREAD)},),  # a thread, never a process; the newer clone3 hides its flags
    "prlimit64": ({0: (_EXACT, 0), 2: (_EXACT, 0)},),  # reads this process's own limits
    # F_SETOWN and F_SETSIG would let a pipe send a signal to any process of the user.
    "fcntl": [
        {1: (_EXACT, command)}
        for command in (
            fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL,
            fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW,
        )
    ],
    "ioctl": [{1: (_EXACT, request)} for request in (0x5401, 0x5450, 0x5451)],  # TCGETS (isatty), FIONCLEX, FIOCLEX
}  # fmt: skip


def main() -> None:
    """The arguments are what `sandbox.run` decided, as `name=value`; the program lies in the current folder."""
    order = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if order["isolated"] == "no":
        order["parent"] = str(supervise(int(order["parent"])))
    path, result = order["program"], int(order["result"])
    with open(path, "rb") as file:
        source = file.read()
    call = _read_call() if order["mode"] == "call" else None
    limit(order)
    if order["isolated"] == "yes":
        drop_privileges()
        confine_files(order["readable"].split(":"), os.getcwd())
        confine_calls()
    site.setquit()  # `exit` and `quit`, which start with the rest of `site` otherwise
    sys.argv[:] = [path]
    sys.path[:] = [os.getcwd(), *order["path"].split(":")]
    os.write(result, READY)
    if call is None:
        load(source, path, "__main__")
    else:
        answer(result, called(load(source, path, "solution"), call))


def load(source: bytes, path: str, name: str) -> types.ModuleType:
    """Run the program as a module."""
    module = types.ModuleType(name)
    module.__dict__["__file__"] = path
    sys.modules[name] = module
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    return module


def _read_call() -> Mapping[str, Any]:
    import json

    with open(0, "rb", closefd=False) as stdin:
        call: dict[str, Any] = json.load(stdin)
    return call


def called(module: types.ModuleType, call: Mapping[str, Any]) -> object:
    """What the function returns; `Class.method` is called on a new instance."""
    owner, _, function = call["call"].rpartition(".")
    value: object = getattr(getattr(module, owner)() if owner else module, function)(*call["arguments"])
    return value


def answer(result: int, value: Any) -> None:
    """Say what the function returned, as JSON; numpy's numbers and arrays count as Python's."""
    import json

    with open(result, "w", encoding="utf-8") as file:
        json.dump(value, file, default=lambda array: array.tolist())


def limit(order: Mapping[str, str]) -> None:
    """Bound what the kernel can count, and let this process die with its parent."""
    die_with(int(order["parent"]), signal=9)
    for kind, amount in (
        (resource.RLIMIT_CPU, int(order["cpu_seconds"])),
        (resource.RLIMIT_AS, int(order["memory_bytes"])),
        (resource.RLIMIT_FSIZE, int(order["file_bytes"])),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        amount = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(kind, (amount, amount))


def die_with(parent: int, signal: int) -> None:
    """Get the signal when the parent ends."""
    set_death_signal = 1
    _check(_libc.prctl(set_death_signal, signal, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the parent is dead")


def supervise(parent: int) -> int:
    """Go on in a child; returns there, with this process's number. Here it waits, and ends as the child does.

    Processes whose parent has died become children of this one (Linux 3.4), wherever in the tree and in whatever session they
    are. So when the child ends, or SIGTERM comes because it must, all that it has started ends too. A program that kills this
    process on purpose gets away: without isolation nothing holds it.
    """
    import signal

    set_child_subreaper = 36
    die_with(parent, signal=signal.SIGTERM)
    _check(_libc.prctl(set_child_subreaper, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")
    supervisor, child = os.getpid(), os.fork()
    if child == 0:
        return supervisor
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    _, status = os.waitpid(child, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        while True:
            for orphan in children(supervisor):
                os.kill(orphan, signal.SIGKILL)
            os.waitpid(-1, 0)  # what it had started itself comes to us now
    except ChildProcessError:
        pass
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(supervisor, os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def children(pid: int) -> list[int]:
    """Processes whose parent is this one, dead ones that nobody has waited for included."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                after_name = file.read().rpartition(b")")[2]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if int(after_name.split()[1]) == pid:
            found.append(int(name))
    return found


def drop_privileges() -> None:
    """Give up all capabilities (root has them) and the right to gain any."""
    set_no_new_privileges, capability_version = 38, 0x2008_0522
    _check(_libc.prctl(set_no_new_privileges, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    header, none = (ctypes.c_uint32 * 2)(capability_version, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, none), "capset")


def confine_files(readable: Sequence[str], scratch: str) -> None:
    """Landlock (Linux 5.13): from here on, files can be opened beneath these folders only.

    It does not cover what needs no opening, such as `chmod` and `truncate`: these calls are not in `CALLS`.
    """
    create_ruleset, add_rule, restrict_self = 444, 445, 446  # the same numbers on every architecture
    write, read, list_folder, remove, make = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8
    everything = ctypes.c_uint64((1 << 13) - 1)
    ruleset = _libc.syscall(create_ruleset, ctypes.byref(everything), ctypes.sizeof(everything), 0)
    _check(ruleset, "Landlock")
    rights = {path: read | list_folder for path in readable} | {scratch: read | write | list_folder | remove | make}
    for path, allowed in rights.items():
        try:
            folder = os.open(path, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        rule = allowed.to_bytes(8, sys.byteorder) + folder.to_bytes(4, sys.byteorder)
        _check(_libc.syscall(add_rule, ruleset, 1, rule, 0), "Landlock")
        os.close(folder)
    _check(_libc.syscall(restrict_self, ruleset, 0), "Landlock")
    os.close(ruleset)


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp` of libseccomp."""

    _fields_ = (("position", ctypes.c_uint), ("operator", ctypes.c_int), ("mask", ctypes.c_uint64), ("value", ctypes.c_uint64))


def confine_calls() -> None:
    """seccomp: only `CALLS` are let through. A name that this architecture or libseccomp lacks stays refused."""
    allow, refuse, masked_equal = 0x7FFF_0000, 0x0005_0000 | errno.ENOSYS, 7
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(refuse))
    for name, ways in CALLS.items():
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        for way in ways if number >= 0 else ():
            comparisons = [_Comparison(position, masked_equal, mask, value) for position, (mask, value) in way.items()]
            array = (_Comparison * len(comparisons))(*comparisons)
            _check(seccomp.seccomp_rule_add_array(context, allow, number, len(comparisons), array), f"seccomp rule {name}")
    _check(seccomp.seccomp_load(context), "seccomp")


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    """libc says -1 and sets errno, libseccomp says -errno."""
    if result < 0:
        code = ctypes.get_errno() if result == -1 else -result
        raise OSError(code, f"{what}: {os.strerror(code)}")
