"""Confines a process to the system calls that decoding an open file needs (Linux on x86-64, no root needed).

All others fail with "operation not permitted": opening files, sockets, starting programs, signals to other processes.
"""

import ctypes
import errno
import platform
import struct
import sys

_ARCH = 0xC000003E  # AUDIT_ARCH_X86_64
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # prctl
_LOAD, _EQUAL, _AT_LEAST, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF
_NR, _ARCH_AT, _ARG0, _ARG2 = 0, 4, 16, 32  # offsets in struct seccomp_data
_X32 = 0x40000000
_CLONE, _CLONE3, _PRLIMIT, _CLONE_THREAD = 56, 435, 302, 0x00010000

_ALLOWED = {
    "read": 0,
    "write": 1,
    "close": 3,
    "fstat": 5,
    "poll": 7,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "pread64": 17,
    "readv": 19,
    "writev": 20,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "dup": 32,
    "nanosleep": 35,
    "getpid": 39,
    "sendto": 44,
    "recvfrom": 45,
    "exit": 60,
    "fcntl": 72,
    "gettimeofday": 96,
    "getrlimit": 97,
    "getrusage": 98,
    "sysinfo": 99,
    "sigaltstack": 131,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "set_robust_list": 273,
    "getcpu": 309,
    "getrandom": 318,
    "membarrier": 324,
    "rseq": 334,
}


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _program() -> bytes:
    refuse = _op(_RETURN, _ERRNO | errno.EPERM)
    allow = _op(_RETURN, _ALLOW)
    start = [_op(_LOAD, _ARCH_AT), _op(_EQUAL, _ARCH, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, _NR)]
    start += [_op(_AT_LEAST, _X32, 0, 1), refuse]
    # glibc falls back to clone, whose flags the filter can read: threads are allowed, processes are not
    start += [_op(_EQUAL, _CLONE3, 0, 1), _op(_RETURN, _ERRNO | errno.ENOSYS)]
    start += [_op(_EQUAL, _CLONE, 0, 4), _op(_LOAD, _ARG0), _op(_SET, _CLONE_THREAD, 0, 1), allow, refuse]
    # limits may be read, not set: both halves of the pointer to new limits are null
    start += [_op(_EQUAL, _PRLIMIT, 0, 6), _op(_LOAD, _ARG2), _op(_EQUAL, 0, 0, 3), _op(_LOAD, _ARG2 + 4)]
    start += [_op(_EQUAL, 0, 0, 1), allow, refuse]
    calls = sorted(_ALLOWED.values())
    checks = [_op(_EQUAL, call, len(calls) - i) for i, call in enumerate(calls)]
    return b"".join([*start, *checks, refuse, allow])


def available() -> bool:
    """Does the filter exist for this machine?"""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def confine() -> None:
    """Apply the filter to this thread and all threads that it starts; it cannot be removed.

    Raises:
        OSError: the kernel refuses.
    """
    program = _program()
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: number of instructions, pointer to them
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)))
    prctl(_NO_NEW_PRIVS, 1)
    prctl(_SECCOMP, _FILTER, ctypes.addressof(header))


def prctl(option: int, *values: int) -> None:
    """Call Linux's prctl.

    Raises:
        OSError: refused.
    """
    arguments = [ctypes.c_ulong(v) for v in (*values, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *arguments):
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


_libc = ctypes.CDLL(None, use_errno=True)
